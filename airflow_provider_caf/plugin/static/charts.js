// Drawings. Observable Plot draws axes, marks and pointers; this file says what of.

import { formatNumber, h, svg } from "./dom.js";

let loading = null;

/** Wait until the library is there: what needs no drawing is on the screen before. */
export function loadCharts() {
  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = h("script", { src: `static/vendor/${name}`, onload: resolve, onerror: () => reject(new Error(`${name} cannot be loaded.`)) });
      document.head.append(script);
    });
  loading ??= load("d3.min.js").then(() => load("plot.umd.min.js"));
  return loading;
}

const GAP = 0.03; // between two experiments, as a part of the whole axis

/** An axis over the runs of all experiments: each has its stretch, from its first to its last run. */
export class RunAxis {
  /** @param ends for each experiment its number, its first and its last run, flat @param width of the drawing, in pixels */
  constructor(ends, width) {
    this.experiments = [];
    this.width = width;
    const total = chunk(ends, 3).reduce((sum, [, low, high]) => sum + high - low + 1, 0);
    let offset = 0;
    for (const [exp, low, high] of chunk(ends, 3)) {
      this.experiments.push({ exp, low, high, offset });
      offset += high - low + 1 + Math.max(1, total * GAP);
    }
    this.end = this.experiments.length ? offset - Math.max(1, total * GAP) : 1;
  }

  /** The place of the beginning of a run; open ends and what lies outside are cut off at the edges. */
  place(exp, run, isEnd = false) {
    if (exp < 0) return this.end;
    const own = this.experiments.find((experiment) => experiment.exp === exp);
    if (!own) {
      const next = this.experiments.find((experiment) => experiment.exp > exp);
      return next ? next.offset : this.end;
    }
    const at = run < 0 ? own.high : Math.min(Math.max(run, own.low), own.high);
    return own.offset + at - own.low + (isEnd ? 1 : 0);
  }

  /** Begin and end of an IoV on the axis. */
  span([exp_low, run_low, exp_high, run_high]) {
    const begin = this.place(exp_low, run_low);
    return [begin, Math.max(this.place(exp_high, run_high, true), begin + 0.2)];
  }

  get ticks() {
    const labels = new Map();
    const letter = (8 * this.end) / this.width;
    const step = niceStep(7 * letter);
    let free = 0;
    const put = (at, text) => {
      if (at < free) return;
      labels.set(at, text);
      free = at + (text.length + 2) * letter;
    };
    for (const [index, { exp, low, high, offset }] of this.experiments.entries()) {
      put(offset, `e${exp} r${low}`);
      const next = this.experiments[index + 1]?.offset ?? Infinity;
      for (let run = Math.ceil((low + 1) / step) * step; run <= high; run += step) {
        if (offset + run - low + 4 * letter < next) put(offset + run - low, `${run}`);
      }
    }
    return labels;
  }

  get options() {
    const labels = this.ticks;
    return { domain: [0, this.end], ticks: [...labels.keys()], tickFormat: (at) => labels.get(at), label: "experiment and run" };
  }
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
}

export function chunk(flat, size) {
  const parts = [];
  for (let index = 0; index < flat.length; index += size) parts.push(flat.slice(index, index + size));
  return parts;
}

export function formatIov([exp_low, run_low, exp_high, run_high]) {
  return `${exp_low},${run_low},${exp_high},${run_high}`;
}

function plot(options, description) {
  const drawing = Plot.plot({ style: { background: "transparent", fontSize: "12px" }, ...options });
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", description);
  for (const part of drawing.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  return drawing;
}

function shorten(text, letters) {
  return text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
}

/** The IoV map: a row for each payload, a bar for each IoV, gaps hatched. `onPick` gets what the pointer is on. */
export function drawMap(data, width, onPick) {
  const axis = new RunAxis(data.runs, width);
  const several = new Set(data.payloads.map((payload) => payload.calibration)).size > 1;
  const rows = data.payloads.map((payload) => (several ? `${payload.calibration} / ${payload.name}` : payload.name));
  const bars = [];
  const gaps = [];
  data.payloads.forEach((payload, row) => {
    for (const [index, iov] of chunk(payload.iovs, 4).entries()) {
      const [x1, x2] = axis.span(iov);
      bars.push({ row: rows[row], payload, iov, x1, x2, shade: index % 2 });
    }
    for (const run of chunk(payload.gaps?.uncovered ?? [], 2)) {
      gaps.push({ row: rows[row], x1: axis.place(...run), x2: axis.place(...run, true) });
    }
  });
  const phone = width < 560;
  const letters = phone ? 14 : 34;
  const margin = Math.min(rows.reduce((most, row) => Math.max(most, Math.min(row.length, letters)), 4) * 7 + 20, width / 3);
  const drawing = plot(
    {
      width, marginLeft: margin, marginRight: 16, height: rows.length * 30 + 60,
      x: axis.options,
      y: { domain: rows, label: null, padding: 0.3, tickSize: 0, tickFormat: (row) => shorten(row, letters) },
      marks: [
        Plot.gridX(axis.options.ticks, { strokeOpacity: 0.12 }),
        Plot.barX(bars, {
          x1: "x1", x2: "x2", y: "row", fill: "var(--done)", fillOpacity: (bar) => (bar.shade ? 0.62 : 1), insetLeft: 0.3, insetRight: 0.3,
        }),
        Plot.barX(gaps, { x1: "x1", x2: "x2", y: "row", fill: "var(--failed)", stroke: "var(--failed)", insetTop: 5, insetBottom: 5 }),
      ],
    },
    `IoV map: ${rows.length} payloads, ${bars.length} intervals of validity, ${gaps.length} runs without one.`,
  );
  pickBars(drawing, rows, bars, onPick);
  return drawing;
}

/** Frame the bar under the pointer, and tell of it. */
function pickBars(drawing, rows, bars, onPick) {
  const x = drawing.scale("x");
  const y = drawing.scale("y");
  const byRow = d3.group(bars, (bar) => bar.row);
  const frame = svg("rect", { fill: "none", stroke: "var(--text)", "stroke-width": 2, visibility: "hidden", height: y.bandwidth });
  drawing.append(frame);
  const pick = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const row = rows.find((name) => point.y >= y.apply(name) && point.y <= y.apply(name) + y.bandwidth);
    const at = x.invert(point.x);
    const bar = byRow.get(row)?.findLast((candidate) => at >= candidate.x1 && at <= candidate.x2);
    frame.setAttribute("visibility", bar ? "visible" : "hidden");
    if (!bar) return;
    frame.setAttribute("x", x.apply(bar.x1));
    frame.setAttribute("width", x.apply(bar.x2) - x.apply(bar.x1));
    frame.setAttribute("y", y.apply(bar.row));
    onPick(bar);
  };
  drawing.addEventListener("pointermove", pick);
  drawing.addEventListener("click", pick);
}

/** A monitored number against the pass. */
export function drawConvergence(series, width) {
  const points = series.points.map(([iteration, value, error, low, high, count]) => ({ pass: iteration + 1, value, error, low, high, count }));
  const passes = points.map((point) => point.pass);
  return plot(
    {
      width, height: 190, marginLeft: 64, grid: true,
      x: { domain: [Math.min(...passes) - 0.4, Math.max(...passes) + 0.4], ticks: passes, tickFormat: String, label: "pass" },
      y: { label: null, nice: true, ticks: 5, zero: false },
      marks: [
        Plot.ruleX(points.filter((point) => point.count > 1), { x: "pass", y1: "low", y2: "high", stroke: "var(--queued)", strokeWidth: 5 }),
        Plot.lineY(points, { x: "pass", y: "value", stroke: "var(--done)" }),
        Plot.ruleX(points.filter((point) => point.error), { x: "pass", y1: (point) => point.value - point.error, y2: (point) => point.value + point.error, stroke: "var(--done)" }),
        Plot.dot(points, { x: "pass", y: "value", fill: "var(--done)", r: 4 }),
        Plot.tip(points, Plot.pointerX({ x: "pass", y: "value", title: describePoint, fill: "var(--back)" })),
      ],
    },
    `${series.name} of ${series.algorithm} against the pass: ${points.map((point) => formatNumber(point.value)).join(", ")}.`,
  );
}

function describePoint(point) {
  const error = point.error ? ` ± ${formatNumber(point.error)}` : "";
  const spread = point.count > 1 ? `\n${point.count} executions, ${formatNumber(point.low)} to ${formatNumber(point.high)}` : "";
  return `pass ${point.pass}: ${formatNumber(point.value)}${error}${spread}`;
}

/** A constant against the run, with that of another run or calibration beside it. */
export function drawTrend(data, ends, width, label) {
  const axis = new RunAxis(ends, width);
  const read = (rows, kind) =>
    rows.map(([a, b, c, d, value, error]) => {
      const [x1, x2] = axis.span([a, b, c, d]);
      return { kind, x: (x1 + x2) / 2, x1, x2, value, error, iov: formatIov([a, b, c, d]) };
    });
  const own = read(data.points, "this run");
  const other = read(data.other, "compared");
  const marks = (points, colour, symbol) => [
    Plot.link(points, { x1: "x1", x2: "x2", y1: "value", y2: "value", stroke: colour, strokeOpacity: 0.55 }),
    Plot.ruleX(points.filter((point) => point.error), { x: "x", y1: (point) => point.value - point.error, y2: (point) => point.value + point.error, stroke: colour }),
    Plot.dot(points, { x: "x", y: "value", stroke: colour, fill: symbol === "circle" ? colour : "none", symbol, r: points.length > 400 ? 1.5 : 3.5 }),
  ];
  return plot(
    {
      width, height: 300, marginLeft: 68, marginRight: 16, x: axis.options, y: { label, nice: true, grid: true, zero: false },
      marks: [
        ...marks(other, "var(--other)", "square"),
        ...marks(own, "var(--done)", "circle"),
        Plot.tip([...own, ...other], Plot.pointer({
          x: "x", y: "value", fill: "var(--back)",
          title: (point) => `${point.kind}\nIoV ${point.iov}\n${formatNumber(point.value)}${point.error ? ` ± ${formatNumber(point.error)}` : ""}`,
        })),
      ],
    },
    `${label} against the run: ${own.length} constants of this run, ${other.length} to compare with.`,
  );
}

const ROW_WIDTH = 100;

/** One cell for each execution of an algorithm, coloured by its result code. */
export function drawStrip(algorithm, codes, onPick) {
  const count = algorithm.codes.length;
  const columns = Math.min(count, count > 1000 ? 2 * ROW_WIDTH : ROW_WIDTH);
  const cell = count > 1000 ? 5 : 10;
  const rows = Math.ceil(count / columns);
  const paths = {};
  for (let index = 0; index < count; index += 1) {
    const x = (index % columns) * cell;
    const y = Math.floor(index / columns) * cell;
    paths[algorithm.codes[index]] = `${paths[algorithm.codes[index]] ?? ""}M${x} ${y}h${cell - 1}v${cell - 1}h${1 - cell}z`;
  }
  const said = Object.entries(countCodes(algorithm.codes)).map(([code, number]) => `${number} ${codes[code]}`).join(", ");
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${Math.max(columns, 40) * cell} ${rows * cell}`, class: "strip", role: "img", "aria-label": `Executions of ${algorithm.name}: ${said}.`, preserveAspectRatio: "xMinYMin meet", style: `max-height: ${rows * cell * 1.6}px` },
    ...Object.entries(paths).map(([code, path]) => svg("path", { d: path, class: `f-${codes[code]}` })),
  );
  const pick = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const index = Math.floor(point.y / cell) * columns + Math.floor(point.x / cell);
    if (point.x >= 0 && point.x < columns * cell && index >= 0 && index < count) onPick(index);
  };
  drawing.addEventListener("pointermove", pick);
  drawing.addEventListener("click", pick);
  return drawing;
}

export function countCodes(codes) {
  const counts = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}

/** A bar of parts, each with its own colour; what it says stands in words beside it. */
export function drawBar(parts, total, label) {
  return h(
    "div",
    { class: "bar", role: "img", "aria-label": label },
    parts.filter(([, count]) => count > 0).map(([kind, count]) => h("span", { class: `c-${kind}`, style: `width: ${(100 * count) / total}%` })),
  );
}
