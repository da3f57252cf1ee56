// Where the page begins: what the address asks for, and when it is asked for again.

import { getRuns } from "./api.js";
import { badge, fill, formatSeconds, formatTime, h } from "./dom.js";
import { RunPage } from "./run.js";

const QUICK = 3000; // ms, while something happens
const SLOW = 30000;

const place = document.getElementById("page");

/** What the address asks for: a run and a calibration of it, or a list of runs. */
function readAddress() {
  const words = new URLSearchParams(location.search);
  return { dag_id: words.get("dag_id"), run_id: words.get("run_id"), calibration: words.get("calibration") };
}

/** Write the address for what is shown, so that it can be copied, and gone back to. */
export function go(words) {
  const given = Object.entries(words).filter(([, value]) => value);
  history.pushState(null, "", given.length ? `?${new URLSearchParams(given)}` : location.pathname);
  show();
}

/** Inside of Airflow's own pages, their colours decide; alone, those of the system. */
function chooseColours() {
  let outer = null;
  try {
    outer = window.parent !== window ? window.parent.document.documentElement : null;
  } catch {
    outer = null; // a frame of another origin shows nothing of itself
  }
  const isDark = outer ? outer.classList.contains("dark") || outer.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", isDark);
  return outer;
}

const outer = chooseColours();
if (outer) new MutationObserver(chooseColours).observe(outer, { attributes: true, attributeFilter: ["class", "data-theme"] });
else matchMedia("(prefers-color-scheme: dark)").addEventListener("change", chooseColours);

function link(words, ...children) {
  const address = `?${new URLSearchParams(words)}`;
  const follow = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(words);
  };
  return h("a", { href: address, onclick: follow }, ...children);
}

/** The list of runs. */
class ListPage {
  constructor(dag_id) {
    this.dag_id = dag_id;
    this.title = h("h1", {}, dag_id ? `Runs of ${dag_id}` : "Calibrations");
    this.body = h("div");
    this.root = h("div", {}, dag_id && h("div", { class: "trail" }, link({}, "Calibrations")), this.title, this.body);
  }

  async update(show) {
    const data = await getRuns(this.dag_id);
    fill(this.body, JSON.stringify(data), () => this.build(data));
    show();
    return data.runs.some((run) => ["running", "queued"].includes(run.state));
  }

  build(data) {
    if (!data.runs.length) {
      const told = this.dag_id
        ? "This DAG has no run of a CAF yet. Trigger it, and its calibrations show here."
        : "No CAF has run yet that you may see. Trigger a DAG of a CAF, and its calibrations show here.";
      return h("p", { class: "note" }, told);
    }
    const rows = data.runs.map((run) =>
      h(
        "tr",
        {},
        !this.dag_id && h("td", { "data-label": "DAG" }, link({ dag_id: run.dag_id }, run.dag_id)),
        h("td", { "data-label": "run" }, link({ dag_id: run.dag_id, run_id: run.run_id }, run.run_id)),
        h("td", { "data-label": "state" }, badge(run.state)),
        h("td", { "data-label": "started" }, formatTime(run.started)),
        h("td", { "data-label": "time", class: "number" }, formatSeconds(run.seconds)),
      ),
    );
    const heads = [!this.dag_id && "DAG", "run", "state", "started"].filter(Boolean).map((head) => h("th", { scope: "col" }, head));
    return h(
      "table",
      { class: "cards" },
      h("thead", {}, h("tr", {}, heads, h("th", { scope: "col", class: "number" }, "time"))),
      h("tbody", {}, rows),
    );
  }
}

let page = null;
let timer = 0;

function show() {
  const wanted = readAddress();
  if (wanted.dag_id && wanted.run_id) {
    if (page instanceof RunPage && page.isOf(wanted)) page.choose(wanted.calibration);
    else page = new RunPage(wanted, { go, link, refresh });
  } else {
    page = new ListPage(wanted.dag_id);
  }
  document.title = wanted.dag_id ? `${wanted.dag_id} – Calibrations` : "Calibrations";
  refresh();
}

/** Ask again, show the answer, and say when to ask the next time. */
async function refresh() {
  clearTimeout(timer);
  const own = page;
  const attach = () => own === page && own.root.parentNode !== place && place.replaceChildren(own.root);
  let isBusy = false;
  try {
    isBusy = await own.update(attach);
    if (own !== page) return;
    document.getElementById("problem")?.remove();
  } catch (error) {
    if (own !== page) return;
    showProblem(own, error);
    isBusy = error.status === 0;
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, document.hidden ? SLOW : isBusy ? QUICK : SLOW);
}

function showProblem(own, error) {
  const again = h("button", { onclick: refresh }, "Try again");
  const note = h("div", { class: "note error", id: "problem", role: "alert" }, h("p", {}, error.message), again);
  const isSilent = error.status === 0 || error.status >= 500; // what is shown may be shown on; it is only old
  if (isSilent && own.root.parentNode === place) {
    document.getElementById("problem")?.remove();
    place.prepend(note);
  } else {
    place.replaceChildren(note);
  }
}

addEventListener("popstate", show);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
show();
