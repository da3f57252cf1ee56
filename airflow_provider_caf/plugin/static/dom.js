// Elements are made here and nowhere else: text is always text, so that nothing a job has printed can become markup.

/** Make an element. Attributes that are null or false are left out; `onclick` and the like are listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Put new content into a place, if it differs from what is there: focus and scrolling stay where nothing has changed. */
export function fill(place, key, build) {
  if (place.dataset.key === key) return;
  const focused = document.activeElement && place.contains(document.activeElement) ? document.activeElement.id : "";
  place.dataset.key = key;
  place.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

export function formatNumber(value) {
  if (value === null || value === undefined) return "–";
  return Number.isInteger(value) ? String(value) : Number(value).toPrecision(5).replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1");
}

const KINDS = {
  completed: ["good", "✓"], success: ["good", "✓"],
  failed: ["bad", "✗"], "upstream failed": ["bad", "⤳"], upstream_failed: ["bad", "⤳"],
  running: ["busy", "▶"], collecting: ["busy", "▶"], merging: ["busy", "▶"], preparing: ["busy", "▶"],
  "running algorithms": ["busy", "▶"], deciding: ["busy", "▶"], deferred: ["busy", "▶"],
  awaiting_input: ["ask", "?"],
};

/** Show a state: a sign, a word and a colour. */
export function badge(state) {
  const [kind, sign] = KINDS[state] ?? ["idle", "○"];
  return h("span", { class: `badge ${kind}` }, h("span", { "aria-hidden": "true" }, sign), (state ?? "waiting").replaceAll("_", " "));
}

/** Show a moment in the time zone of the reader. */
export function formatTime(moment) {
  if (!moment) return "";
  return new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** Show a value of any kind in one line. */
export function formatValue(value) {
  if (typeof value === "string") return value;
  if (typeof value === "number") return formatNumber(value);
  if (value === null || typeof value !== "object") return String(value);
  const parts = Array.isArray(value) ? value.map(formatValue) : Object.entries(value).map(([name, part]) => `${name} ${formatValue(part)}`);
  const text = parts.join(", ");
  return text.length > 600 ? `${text.slice(0, 600)} …` : text;
}

/** List runs, and say how many more there are. */
export function listRuns({ runs, count }) {
  const shown = runs.slice(0, 40);
  return shown.join(" ") + (count > shown.length ? ` and ${count - shown.length} more` : "");
}

/** How wide a drawing in a place can be, in CSS pixels. */
export function measure(place) {
  return Math.max(280, Math.floor((place.clientWidth || document.documentElement.clientWidth) - 34));
}

/** Let only the answer to the last question be shown. */
export function latest(ask, onError) {
  let newest = 0;
  let said = "";
  return async (what) => {
    const key = JSON.stringify(what);
    if (key === said) return;
    said = key;
    newest += 1;
    const own = newest;
    try {
      const show = await ask(what);
      if (own === newest) show();
    } catch (error) {
      if (own === newest) onError(error);
    }
  };
}
