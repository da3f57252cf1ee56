// One DAG run: its calibrations, the IoV map, the failed subjobs and what the run was made with.

import { answerSignOff, cancelRun, clearTasks } from "./actions.js";
import { address, get, taskAddress } from "./api.js";
import { chunk, drawBar, drawMap, formatIov, loadCharts } from "./charts.js";
import { Detail } from "./detail.js";
import { badge, fill, formatSeconds, formatTime, formatValue, h, latest, listRuns, measure } from "./dom.js";

const PARTS = ["done", "running", "held", "queued", "failed"];
const BUSY = ["running", "queued"];
const SIGN_OFF = "sign_off";

export class RunPage {
  /** @param wanted dag_id, run_id and maybe a calibration @param page how to go elsewhere, and to ask again */
  constructor({ dag_id, run_id, calibration }, page) {
    this.run = { dag_id, run_id };
    this.page = page;
    this.chosen = calibration;
    this.head = h("header");
    this.signOff = h("div");
    this.table = h("section", { "aria-labelledby": "calibrations" });
    this.jobs = h("section", { "aria-labelledby": "jobs" });
    this.detailPlace = h("div");
    this.map = h("section", { class: "panel", "aria-labelledby": "map" });
    this.failures = h("section", { "aria-labelledby": "failures" });
    this.facts = h("section");
    this.root = h("div", {}, this.head, this.signOff, this.table, this.detailPlace, this.jobs, this.map, this.failures, this.facts);
    this.detail = null;
    this.offset = 0;
    this.mapKey = null;
    new ResizeObserver(() => this.redraw()).observe(this.root);
  }

  isOf({ dag_id, run_id }) {
    return dag_id === this.asked?.dag_id && run_id === this.asked?.run_id;
  }

  choose(name) {
    this.chosen = name;
  }

  /** Ask for what has changed, show it, and say whether more is to come. */
  async update(show) {
    this.asked ??= { ...this.run };
    const data = await get(this.run, "run");
    this.run = { dag_id: data.dag_id, run_id: data.run_id };
    this.data = data;
    const names = data.calibrations.map((calibration) => calibration.name);
    if (this.chosen && !names.includes(this.chosen)) this.chosen = null;
    fill(this.head, JSON.stringify([data.state, data.may, Math.floor(data.seconds)]), () => this.buildHead(data));
    fill(this.signOff, JSON.stringify([data.whole, data.may, data.notices]), () => [this.buildNotices(data), this.buildSignOff(data)]);
    fill(this.table, JSON.stringify([data.calibrations, data.may, this.chosen]), () => this.buildTable(data));
    fill(this.jobs, JSON.stringify(data.jobs), () => this.buildJobs(data.jobs));
    fill(this.facts, JSON.stringify([data.versions, data.params, data.folder]), () => this.buildFacts(data));
    show();
    await Promise.all([this.updateDetail(data), this.updateMap(data), this.updateFailures(data)]);
    if (location.hash && !this.isShown) requestAnimationFrame(() => document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: "center" }));
    this.isShown = true;
    return BUSY.includes(data.state);
  }

  buildHead(data) {
    const { page, run } = this;
    return [
      h("div", { class: "trail" }, page.link({}, "Calibrations"), " / ", page.link({ dag_id: run.dag_id }, run.dag_id), " /"),
      h(
        "div",
        { class: "head" },
        h("h1", {}, run.run_id),
        badge(data.state),
        h("span", { class: "soft" }, data.started ? `started ${formatTime(data.started)}, ${formatSeconds(data.seconds)}` : "not started"),
        h(
          "span",
          { class: "push row" },
          h("a", { href: `../dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`, target: "_top" }, "Run in Airflow"),
          BUSY.includes(data.state) && data.may.cancel && h("button", { class: "danger", id: "cancel", onclick: () => cancelRun(run, page.refresh) }, "Cancel …"),
        ),
      ),
    ];
  }

  buildNotices(data) {
    return data.notices.map((notice) => h("p", { class: "banner", role: "status" }, notice));
  }

  buildSignOff(data) {
    const task = data.whole.find((candidate) => candidate.task_id === SIGN_OFF);
    if (!task || ["running", "queued", "success"].includes(data.state) === false) return null;
    if (!["deferred", "running", "awaiting_input"].includes(task.state)) return null;
    const text = h("textarea", { id: "comment", rows: 2, "aria-label": "Comment", placeholder: "Comment" });
    const answer = (option) => answerSignOff(this.run, SIGN_OFF, option, text.value, this.page.refresh);
    return h(
      "div",
      { class: "banner" },
      h("h2", {}, "This result waits for a sign-off"),
      data.may.answer
        ? [
            h("p", {}, "Look at the calibrations below, then approve or reject the result."),
            h(
              "div",
              { class: "row" },
              text,
              h("button", { class: "strong", id: "approve", onclick: () => answer("Approve") }, "Approve …"),
              h("button", { class: "danger", id: "reject", onclick: () => answer("Reject") }, "Reject …"),
            ),
          ]
        : h("p", {}, "You may look at it, but not answer."),
    );
  }

  buildTable(data) {
    const rows = data.calibrations.map((calibration) => this.buildRow(calibration, data));
    if (!rows.length && data.jobs.length) return null;
    return [
      h("h2", { id: "calibrations" }, "Calibrations"),
      rows.length
        ? h(
            "table",
            { class: "cards" },
            h("thead", {}, h("tr", {}, ["calibration", "state", "pass", "collected", "IoVs executed"].map((word) => h("th", { scope: "col" }, word)), h("th", { scope: "col", class: "number" }, "time"))),
            h("tbody", {}, rows),
          )
        : h("p", { class: "note" }, "This run has no calibrations: its DAG is no CAF, or it has not begun."),
      h("div", { class: "legend", "aria-hidden": "true" }, PARTS.map((word) => h("span", {}, h("span", { class: `swatch c-${word}` }), word))),
    ];
  }

  buildRow(calibration, data) {
    const isChosen = calibration.name === this.chosen;
    const words = { ...this.asked, calibration: isChosen ? null : calibration.name };
    const open = h(
      "button",
      { "aria-expanded": String(isChosen), id: `open-${calibration.name}`, onclick: () => this.page.go(words) },
      h("span", { "aria-hidden": "true" }, isChosen ? "▾ " : "▸ "),
      calibration.name,
    );
    const retry = () =>
      clearTasks(this.run, `Retry the failed subjobs of ${calibration.name}?`, calibration.retry, "Only subjobs that are not done are submitted again. What was collected stays.", this.page.refresh);
    return h(
      "tr",
      { class: isChosen ? "chosen" : null },
      h("th", { scope: "row" }, open, calibration.depends_on.length ? h("div", { class: "soft wide" }, `after ${calibration.depends_on.join(", ")}`) : null),
      h(
        "td",
        { "data-label": "state" },
        badge(calibration.state),
        calibration.waiting && h("div", { class: "soft" }, calibration.state === "waiting" ? `waits for ${calibration.waiting}` : calibration.waiting),
        calibration.reason && buildReason(calibration.reason),
        calibration.retry.length && data.may.clear ? h("div", {}, h("button", { id: `retry-${calibration.name}`, onclick: retry }, "Retry the failed subjobs …")) : null,
      ),
      h("td", { "data-label": "pass" }, calibration.iteration === null ? "" : `${calibration.iteration + 1} of at most ${calibration.passes}`, calibration.checkpoint && h("div", { class: "soft" }, calibration.checkpoint)),
      h("td", { "data-label": "collected" }, calibration.collections.map(buildCounts)),
      h("td", { "data-label": "IoVs executed" }, calibration.algorithms.map(buildCodes)),
      h("td", { "data-label": "time", class: "number" }, calibration.seconds ? formatSeconds(calibration.seconds) : ""),
    );
  }

  /** The tasks that run commands as jobs, and belong to no calibration. */
  buildJobs(jobs) {
    if (!jobs.length) return null;
    const heads = ["task", "state", "jobs"].map((word) => h("th", { scope: "col" }, word));
    const rows = jobs.map((task) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, h("a", { href: taskAddress(this.run, task.name.replace(/\[.*/, "")), target: "_top" }, task.name)),
        h("td", { "data-label": "state" }, badge(task.state), !["success", "failed"].includes(task.state) && task.progress && h("div", { class: "soft" }, task.progress), task.state === "failed" && task.reason && buildReason(task.reason)),
        h("td", { "data-label": "jobs" }, buildCounts({ ...task, name: "" })),
      ),
    );
    return [h("h2", { id: "jobs" }, "Jobs of tasks"), h("table", { class: "cards" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows))];
  }

  async updateDetail(data) {
    const progress = data.calibrations.find((calibration) => calibration.name === this.chosen);
    if (!progress) {
      this.detail = null;
      this.detailPlace.replaceChildren();
      return;
    }
    if (this.detail?.name !== progress.name) {
      this.detail = new Detail(this.run, progress.name, this.page);
      this.detailPlace.replaceChildren(this.detail.root);
    }
    await this.detail.update(progress, data);
  }

  async updateMap(data) {
    if (!data.calibrations.length && data.jobs.length) return;
    const finished = data.calibrations.filter((calibration) => calibration.state === "completed").map((calibration) => calibration.name);
    const key = JSON.stringify([finished, this.chosen]);
    if (key === this.mapKey) return;
    [this.mapData] = await Promise.all([get(this.run, "map", { name: this.chosen }), loadCharts()]);
    this.mapKey = key;
    this.drawMap();
  }

  drawMap() {
    const { mapData: data, chosen } = this;
    if (!data) return;
    const title = h("h2", { id: "map" }, chosen ? `IoV map of ${chosen}` : "IoV map");
    if (!data.payloads.length) {
      const told = chosen ? "This calibration has no final payloads yet." : "No calibration has final payloads yet.";
      this.map.replaceChildren(title, h("p", { class: "note" }, told));
      return;
    }
    const shown = data.payloads.reduce((sum, payload) => sum + payload.iovs.length / 4, 0);
    const info = h("div", { class: "detail", "aria-live": "polite", id: "map-detail" }, h("span", { class: "soft" }, "Point at a bar to see its constants and the runs that were executed for it."));
    const pick = latest(async ({ payload, iov }) => {
      const found = await get(this.run, "payload", { name: payload.calibration, payload: payload.name, iov: formatIov(iov) });
      return () => info.replaceChildren(...describePayload(payload, found));
    }, (error) => info.replaceChildren(h("span", { class: "reason" }, error.message)));
    this.mapWidth = measure(this.root);
    this.map.replaceChildren(
      title,
      h("div", { class: "legend" }, h("span", {}, h("span", { class: "swatch c-done" }), "payload"), h("span", {}, h("span", { class: "swatch c-failed" }), "executed run without a payload")),
      h("div", { class: "chart", id: "map-chart" }, drawMap(data, this.mapWidth, pick)),
      shown < data.total && h("p", { class: "soft" }, `${shown} of ${data.total} IoVs are drawn; choose a calibration to see all of its own.`) || "",
      info,
      data.executed ? buildGapTable(data.payloads) : h("p", { class: "soft" }, "The catalog knows of no executed runs, so nothing is said about gaps."),
    );
  }

  redraw() {
    if (this.mapData && this.mapWidth && Math.abs(measure(this.root) - this.mapWidth) > 20) this.drawMap();
    this.detail?.redraw();
  }

  async updateFailures(data) {
    const key = JSON.stringify([data.failed, this.chosen, this.offset]);
    if (this.failures.dataset.key === key) return;
    const found = data.failed ? await get(this.run, "failures", { name: this.chosen, offset: this.offset }) : { total: 0, rows: [] };
    fill(this.failures, key, () => this.buildFailures(found));
  }

  buildFailures(found) {
    const title = h("h2", { id: "failures" }, this.chosen ? `Failed subjobs of ${this.chosen}` : "Failed subjobs");
    if (!found.total) return [title, h("p", { class: "soft" }, "None.")];
    const turn = (offset) => () => {
      this.offset = offset;
      this.page.refresh();
    };
    return [
      title,
      h("p", { class: "soft" }, `${found.total} failed tries, the newest first. A try that failed may have gone well the next time.`),
      found.rows.map((row) => this.buildFailure(row)),
      h(
        "div",
        { class: "row" },
        found.offset > 0 && h("button", { id: "newer", onclick: turn(Math.max(0, found.offset - found.size)) }, "Newer"),
        found.offset + found.size < found.total && h("button", { id: "older", onclick: turn(found.offset + found.size) }, "Older"),
      ),
    ];
  }

  buildFailure(row) {
    const end = row.signal ? `signal ${row.signal}` : row.exit_code === null ? "no exit code" : `exit code ${row.exit_code}`;
    const words = { name: row.calibration, iteration: row.iteration, step: row.collection, subjob: row.subjob, attempt: row.attempt };
    return h(
      "details",
      { class: "failure" },
      h(
        "summary",
        {},
        h("strong", {}, row.is_job ? `${row.calibration} job ${row.subjob}` : `${row.calibration} / ${row.collection} subjob ${row.subjob}`),
        h("span", { class: "soft" }, row.is_job ? ` try ${row.attempt + 1}: ` : ` pass ${row.iteration + 1}, try ${row.attempt + 1}: `),
        h("span", { class: "why" }, row.reason),
      ),
      h("p", {}, `${end}${row.host ? ` on ${row.host}` : ""}${row.ended ? `, ${formatTime(row.ended)}` : ""}`),
      row.tail !== null ? h("pre", { tabindex: 0 }, row.tail) : h("p", { class: "soft" }, "The catalog has no log of this try."),
      h(
        "div",
        { class: "row" },
        row.tail !== null && h("a", { href: address(this.run, "log", words), target: "_blank" }, "whole log"),
        h("a", { href: taskAddress(this.run, row.task_id), target: "_top" }, "task in Airflow"),
        row.path && h("code", {}, row.path),
      ),
    );
  }

  buildFacts(data) {
    if (!data.versions && !data.params) return null;
    return h(
      "details",
      { class: "panel", open: location.hash === "#folder" },
      h("summary", {}, h("strong", {}, "What this run was made with")),
      h("p", {}, "Folder: ", h("code", { id: "folder" }, data.folder ?? "–")),
      h("h3", {}, "Params"),
      h("pre", { tabindex: 0 }, JSON.stringify(data.params, null, 2)),
      h("h3", {}, "Versions"),
      h("table", {}, h("tbody", {}, Object.entries(data.versions ?? {}).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, formatValue(value)))))),
    );
  }
}

/** Show the first line of a reason, and the rest when it is opened. */
function buildReason(reason) {
  const [first, ...rest] = reason.split("\n");
  const more = rest.length > 0 && h("details", {}, h("summary", { class: "soft" }, "all of it"), h("pre", { tabindex: 0 }, rest.join("\n")));
  return h("div", {}, h("div", { class: "reason" }, first), more);
}

function buildCounts(row) {
  const parts = PARTS.map((word) => [word, row[word]]);
  const said = parts.filter(([, count]) => count > 0).map(([word, count]) => `${count} ${word}`).join(", ") || "none yet";
  const retried = row.retries ? `, ${row.retries} tried again` : "";
  return h(
    "div",
    { class: "part" },
    h("div", { class: "label" }, h("span", {}, row.name), h("span", { class: "soft" }, `${row.done}/${row.total}`)),
    drawBar(parts, row.total, `${row.name}: ${said} of ${row.total} subjobs`),
    h("div", { class: "counts" }, said, retried),
  );
}

function buildCodes(algorithm) {
  const parts = Object.entries(algorithm.codes);
  const total = parts.reduce((sum, [, count]) => sum + count, 0);
  const said = parts.map(([code, count]) => `${count} ${code}`).join(", ");
  return h(
    "div",
    { class: "part" },
    h("div", { class: "label" }, h("span", {}, algorithm.name), h("span", { class: "soft" }, total ? formatSeconds(algorithm.seconds) : (algorithm.state ?? "").replaceAll("_", " "))),
    total ? [drawBar(parts, total, `${algorithm.name}: ${said}`), h("div", { class: "counts" }, said)] : null,
  );
}

function describePayload(payload, found) {
  const executed = found.count ? `${found.count} executed ${found.count === 1 ? "run" : "runs"}: ${listRuns(found)}` : "The catalog does not know which runs were executed for it.";
  const from = found.algorithm ? `from ${found.algorithm}, pass ${found.iteration + 1}` : "";
  return [
    h("div", {}, h("strong", {}, payload.name), ` IoV ${found.iov} `, h("span", { class: "soft" }, `${from} (revision ${found.revision})`)),
    h("div", {}, "Constants: ", h("code", {}, found.value === null ? "not in the catalog" : formatValue(found.value))),
    h("div", {}, executed),
  ];
}

function buildGapTable(payloads) {
  const open = payloads.filter((payload) => payload.gaps);
  if (!open.length) return h("p", { class: "soft" }, "No gaps: every executed run has its payloads.");
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Gaps" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "payload"), h("th", { scope: "col" }, "gaps between IoVs"), h("th", { scope: "col" }, "runs without a payload"))),
      h("tbody", {}, open.map((payload) =>
        h("tr", {}, h("th", { scope: "row" }, payload.name), h("td", {}, shorten(chunk(payload.gaps.gaps, 4).map(formatIov))), h("td", {}, shorten(chunk(payload.gaps.uncovered, 2).map((run) => run.join("."))))))),
    ),
  );
}

function shorten(words) {
  return words.slice(0, 20).join("  ") + (words.length > 20 ? ` and ${words.length - 20} more` : "");
}
