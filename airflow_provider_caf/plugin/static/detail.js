// One calibration: passes, executions, convergence, trend, resources, input and figures.

import { clearTasks } from "./actions.js";
import { address, get } from "./api.js";
import { countCodes, drawConvergence, drawStrip, drawTrend, loadCharts } from "./charts.js";
import { fill, formatNumber, formatSeconds, formatTime, formatValue, h, latest, listRuns, measure } from "./dom.js";

const MANY_CHARTS = 12;

export class Detail {
  constructor(run, name, page) {
    Object.assign(this, { run, name, page, pass: null, allCharts: false, key: null });
    this.passes = h("section");
    this.executions = h("section");
    this.convergence = h("section");
    this.trend = new Trend(run, name);
    this.resources = h("section");
    this.input = h("section");
    this.figures = h("section");
    this.root = h(
      "section",
      { class: "panel", "aria-labelledby": "detail" },
      h("h2", { id: "detail" }, name),
      this.passes, this.executions, this.convergence, this.trend.root, this.resources, this.input, this.figures,
    );
  }

  /** Ask again where something has changed. */
  async update(progress, data) {
    const key = JSON.stringify([progress.state, progress.iteration, progress.checkpoint, progress.collections, progress.algorithms.map((algorithm) => [algorithm.state, algorithm.codes]), data.may, data.state]);
    if (key === this.key) return;
    const [found] = await Promise.all([get(this.run, "calibration", { name: this.name }), loadCharts()]);
    this.found = found;
    this.may = data.may;
    this.runState = data.state;
    fill(this.passes, JSON.stringify([found.passes, found.resets, found.algorithms, data.may, data.state]), () => this.buildPasses(found));
    fill(this.resources, JSON.stringify(found.resources), () => this.buildResources(found));
    fill(this.input, JSON.stringify(found.selections), () => this.buildInput(found));
    fill(this.figures, JSON.stringify(found.figures), () => this.buildFigures(found));
    this.drawConvergence();
    const last = progress.iteration ?? 0;
    await Promise.all([this.updateExecutions(last), this.trend.update(found)]);
    this.key = key;
  }

  redraw() {
    if (!this.found || !this.width || Math.abs(measure(this.root) - this.width) <= 20) return;
    this.drawConvergence();
    this.trend.draw();
  }

  buildPasses(found) {
    const isOver = !["running", "queued"].includes(this.runState);
    const rows = found.passes.map((pass) =>
      h(
        "tr",
        {},
        h("td", { "data-label": "pass" }, pass.iteration + 1),
        h("td", { "data-label": "decision" }, pass.decision ?? (isOver ? "none" : "under way")),
        h("td", { "data-label": "reason" }, pass.reason ?? ""),
        h("td", { "data-label": "ended" }, formatTime(pass.ended)),
      ),
    );
    const algorithms = found.algorithms.map((algorithm) => `${algorithm.name}: ${algorithm.class} by ${algorithm.strategy}`);
    return [
      algorithms.length > 0 && h("p", { class: "soft" }, algorithms.join("; ")),
      rows.length > 0 &&
        h("table", { class: "cards" }, h("thead", {}, h("tr", {}, ["pass", "decision", "reason", "ended"].map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, rows)),
      found.resets.length > 0 && this.may.clear && this.buildReset(found.resets),
    ];
  }

  buildReset(resets) {
    const name = (target) => (target.iteration === null ? `the beginning (${target.step})` : `pass ${target.iteration + 1}, ${target.step}`);
    const choice = h("select", { id: "reset-to", "aria-label": "Where to go back to" }, resets.map((target, index) => h("option", { value: index }, name(target))));
    const ask = () => {
      const target = resets[choice.value];
      const text = "What this calibration made from there on is made again, and so is all that depends on it.";
      clearTasks(this.run, `Reset ${this.name} to ${name(target)}?`, target.tasks, text, this.page.refresh);
    };
    return h("div", { class: "row" }, h("label", { for: "reset-to", class: "soft" }, "Go back to"), choice, h("button", { id: "reset", onclick: ask }, "Reset …"));
  }

  async updateExecutions(last) {
    this.last = last;
    const pass = Math.min(this.pass ?? last, last);
    const found = await get(this.run, "executions", { name: this.name, iteration: pass });
    fill(this.executions, JSON.stringify([found, pass, last]), () => this.buildExecutions(found, pass, last));
  }

  buildExecutions(found, pass, last) {
    if (!found.algorithms.length && last === 0) return null;
    const choice = h(
      "select",
      {
        id: "pass", "aria-label": "Pass",
        onchange: (event) => {
          this.pass = Number(event.target.value);
          this.updateExecutions(this.last).catch((error) => this.executions.append(h("p", { class: "reason" }, error.message)));
        },
      },
      Array.from({ length: last + 1 }, (_, index) => h("option", { value: index, selected: index === pass }, `pass ${index + 1}`)),
    );
    const shown = found.algorithms.reduce((sum, algorithm) => sum + algorithm.codes.length, 0);
    const used = new Set(found.algorithms.flatMap((algorithm) => [...algorithm.codes]));
    return [
      h("div", { class: "row" }, h("h3", {}, "Executions of"), choice),
      !shown && h("p", { class: "soft" }, "None in this pass yet."),
      shown < found.total && h("p", { class: "soft" }, `The first ${shown} of ${found.total} are shown.`),
      found.algorithms.map((algorithm) => this.buildStrip(algorithm, found.codes, pass)),
      h("div", { class: "legend" }, Object.entries(found.codes).filter(([code]) => used.has(code)).map(([, word]) => h("span", {}, h("span", { class: `swatch c-${word}` }), word))),
    ];
  }

  buildStrip(algorithm, codes, pass) {
    const info = h("div", { class: "detail", "aria-live": "polite" }, h("span", { class: "soft" }, "Point at a cell to see its IoV and what it handed in."));
    const pick = latest(async (index) => {
      const key = algorithm.keys?.[index] ?? index;
      const found = await get(this.run, "execution", { name: this.name, iteration: pass, algorithm: algorithm.name, key });
      return () => info.replaceChildren(...describeExecution(found));
    }, (error) => info.replaceChildren(h("span", { class: "reason" }, error.message)));
    const said = Object.entries(countCodes(algorithm.codes)).map(([code, count]) => `${count} ${codes[code]}`).join(", ");
    const log = address(this.run, "log", { name: this.name, iteration: pass, step: algorithm.name });
    return h(
      "div",
      {},
      h("div", { class: "row" }, h("strong", {}, algorithm.name), h("span", { class: "soft" }, said), h("a", { href: log, target: "_blank" }, "log")),
      drawStrip(algorithm, codes, pick),
      info,
    );
  }

  drawConvergence() {
    const { convergence } = this.found;
    this.width = measure(this.root);
    fill(this.convergence, JSON.stringify([convergence, this.allCharts, this.width]), () => {
      if (!convergence.length) return null;
      const shown = this.allCharts ? convergence : convergence.slice(0, MANY_CHARTS);
      const columns = Math.max(1, Math.floor((this.width + 16) / (320 + 16)));
      const width = Math.floor((this.width - 16 * (columns - 1)) / columns);
      const more = () => {
        this.allCharts = true;
        this.drawConvergence();
      };
      return [
        h("h3", {}, "Convergence"),
        h("div", { class: "charts", id: "convergence" }, shown.map((series) =>
          h("figure", { class: "chart" }, h("figcaption", {}, series.name, h("span", { class: "soft" }, ` of ${series.algorithm}`)), drawConvergence(series, width)))),
        shown.length < convergence.length && h("button", { onclick: more }, `Show all ${convergence.length}`),
      ];
    });
  }

  buildResources(found) {
    if (!found.resources.length) return null;
    const heads = ["jobs of", "pass", "done", "tries", "memory used / asked", "time mean / asked", "CPU", "hosts"];
    const rows = found.resources.map((row) => {
      const cells = [
        ["jobs of", row.name],
        ["pass", row.iteration + 1],
        ["done", `${row.done} of ${row.total}`],
        ["tries", row.done + row.failed + row.retries],
        ["memory used / asked", `${formatNumber(row.memory_used_mb)} MB / ${row.memory_asked_mb === null ? "nothing" : `${row.memory_asked_mb} MB`}`],
        ["time mean / asked", `${formatSeconds(row.seconds_mean) || "–"} / ${row.seconds_asked === null ? "nothing" : formatSeconds(row.seconds_asked)}`],
        ["CPU", row.wall_seconds ? `${formatSeconds(row.cpu_seconds)} (${Math.round((100 * row.cpu_seconds) / row.wall_seconds)} %)` : "–"],
        ["hosts", row.hosts],
      ];
      return h("tr", {}, cells.map(([label, value]) => h("td", { "data-label": label }, value)));
    });
    return [
      h("h3", {}, "Resources"),
      h("table", { class: "cards", id: "resources" }, h("thead", {}, h("tr", {}, heads.map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, rows)),
    ];
  }

  buildInput(found) {
    if (!found.selections.length) return null;
    const rows = found.selections.map((selection) =>
      h(
        "tr",
        {},
        h("td", { "data-label": "collection" }, selection.collection),
        h("td", { "data-label": "files" }, selection.files),
        h("td", { "data-label": "subjobs" }, selection.subjobs),
        h("td", { "data-label": "runs" }, selection.count ? `${selection.count}: ${listRuns(selection)}` : "found while collecting"),
        h("td", { "data-label": "left out" }, selection.ignored.join(" ") || "none"),
        h("td", { "data-label": "selection" }, listDetails(selection.details)),
      ),
    );
    const heads = ["collection", "files", "subjobs", "runs", "left out", "selection"];
    return [
      h("h3", {}, "Input"),
      h("table", { class: "cards", id: "input" }, h("thead", {}, h("tr", {}, heads.map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, rows)),
    ];
  }

  buildFigures(found) {
    if (!found.figures.length) return null;
    const newest = found.figures.slice(-MANY_CHARTS).reverse();
    const source = (figure) => address(this.run, "figure", { name: this.name, iteration: figure.iteration, algorithm: figure.algorithm, key: figure.key, figure: figure.name });
    return [
      h("h3", {}, "Figures"),
      newest.length < found.figures.length && h("p", { class: "soft" }, `The newest ${newest.length} of ${found.figures.length}.`),
      h("div", { class: "charts figures", id: "figures" }, newest.map((figure) =>
        h(
          "figure",
          { class: "chart" },
          h("figcaption", {}, figure.name, h("span", { class: "soft" }, ` of ${figure.algorithm}, pass ${figure.iteration + 1}, execution ${figure.key}`)),
          buildPicture(figure, source(figure)),
        ))),
    ];
  }
}

function listDetails(details) {
  const said = Object.entries(details ?? {}).map(([name, value]) => [name, value === null ? "" : formatValue(value)]);
  return said.filter(([, value]) => value !== "" && value !== "0").map(([name, value]) => h("div", {}, h("span", { class: "soft" }, `${name.replaceAll("_", " ")}: `), value));
}

function buildPicture(figure, source) {
  const missing = h("p", { class: "soft" }, "Too large for this page: ", h("code", {}, figure.path));
  const picture = h("img", { src: source, alt: `${figure.name} of ${figure.algorithm}, pass ${figure.iteration + 1}`, loading: "lazy" });
  const linked = h("a", { href: source, target: "_blank" }, picture);
  picture.addEventListener("error", () => linked.replaceWith(missing));
  return linked;
}

/** A constant against the run, with a choice of constant and of what to compare it with. */
class Trend {
  constructor(run, name) {
    Object.assign(this, { run, name, key: null, payload: null, field: null, other: "" });
    this.choices = h("div", { class: "row" });
    this.legend = h("span", { class: "legend", hidden: true }, h("span", {}, h("span", { class: "swatch round c-done" }), "this run"), h("span", {}, h("span", { class: "swatch open" }), "compared"));
    this.chart = h("div", { class: "chart", id: "trend" });
    this.root = h("section");
  }

  async update(found) {
    const drawn = found.payloads.filter((payload) => payload.fields.length);
    const key = JSON.stringify([drawn, found.others, found.passes]);
    if (key === this.key) return;
    if (!drawn.length) {
      this.root.replaceChildren();
      this.key = key;
      return;
    }
    const { runs } = await get(this.run, "map", { name: this.name });
    this.ends = runs;
    const own = drawn.find((payload) => payload.name === this.payload) ?? drawn[0];
    this.payload = own.name;
    if (!own.fields.includes(this.field)) this.field = own.fields[0];
    if (!found.others.includes(this.other)) this.other = "";
    this.buildChoices(drawn, found.others);
    this.root.replaceChildren(h("h3", {}, "Trend"), this.choices, this.chart);
    await this.load();
    this.key = key;
  }

  buildChoices(drawn, others) {
    const constants = drawn.flatMap((payload) => payload.fields.map((field) => [payload.name, field]));
    const constant = h(
      "select",
      { id: "constant", "aria-label": "Constant", onchange: (event) => this.change(...constants[event.target.value]) },
      constants.map(([name, field], index) => h("option", { value: index, selected: name === this.payload && field === this.field }, field ? `${name}: ${field}` : name)),
    );
    const describe = (other) => (other.startsWith("run:") ? `run ${other.slice(4)}` : `payloads of ${other.slice("calibration:".length)}`);
    const compared = h(
      "select",
      { id: "compared", "aria-label": "Compared with", onchange: (event) => this.change(this.payload, this.field, event.target.value) },
      h("option", { value: "" }, "nothing"),
      others.map((other) => h("option", { value: other, selected: other === this.other }, describe(other))),
    );
    this.choices.replaceChildren(
      constant,
      others.length ? h("label", { class: "row" }, h("span", { class: "soft" }, "compared with"), compared) : "",
      this.legend,
    );
  }

  change(payload, field, other = this.other) {
    Object.assign(this, { payload, field, other });
    this.legend.hidden = !other;
    this.load().catch((error) => this.chart.replaceChildren(h("p", { class: "reason" }, error.message)));
  }

  async load() {
    const asked = { name: this.name, payload: this.payload, field: this.field, other: this.other || null };
    const data = await get(this.run, "trend", asked);
    if (asked.payload !== this.payload || asked.field !== this.field || (asked.other ?? "") !== this.other) return;
    this.data = data;
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const label = this.field ? `${this.payload}: ${this.field}` : this.payload;
    this.chart.replaceChildren(drawTrend(this.data, this.ends, measure(this.root), label));
  }
}

function describeExecution(found) {
  const numbers = found.monitored.map(([name, value, error]) => `${name} ${formatNumber(value)}${error ? ` ± ${formatNumber(error)}` : ""}`).join(", ");
  return [
    h("div", {}, h("strong", {}, found.code), ` IoV ${found.iov} `, h("span", { class: "soft" }, formatSeconds(found.seconds))),
    h("div", {}, `${found.count} runs: ${listRuns(found)}`),
    numbers && h("div", {}, numbers),
  ].filter(Boolean);
}
