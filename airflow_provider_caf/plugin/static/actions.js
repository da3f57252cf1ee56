// What changes a run. Each says first what it would do, and asks.

import { askAirflow, dagPath, runPath } from "./api.js";
import { h } from "./dom.js";

const SHOWN = 30;

/** Show a question; `act` runs when it is confirmed, and its result is awaited before the dialog closes. */
export function confirm(title, content, word, act, kind = "strong") {
  const dialog = document.getElementById("dialog");
  const message = h("p", { class: "reason", role: "alert" });
  const go = h("button", { class: kind, onclick: run, id: "dialog-go" }, word);
  async function run() {
    go.disabled = true;
    message.textContent = "";
    try {
      await act();
      dialog.close();
    } catch (error) {
      message.textContent = error.message;
      go.disabled = false;
    }
  }
  dialog.replaceChildren(
    h("h2", { id: "dialog-title" }, title),
    ...[content].flat(),
    message,
    h("div", { class: "row" }, h("button", { onclick: () => dialog.close() }, "Leave it as it is"), go),
  );
  dialog.showModal();
  go.focus();
}

/** Clear tasks with all that come after them. What Airflow would clear is asked for and shown first. */
export async function clearTasks(run, title, task_ids, explanation, done) {
  const request = {
    task_ids, dag_run_id: run.run_id, include_downstream: true, only_failed: false, reset_dag_runs: true,
  };
  const clear = (dry_run) => askAirflow("POST", `${dagPath(run)}/clearTaskInstances`, { ...request, dry_run });
  let affected = [];
  let problem = null;
  try {
    affected = (await clear(true)).task_instances.filter((task) => task.state !== null);
  } catch (error) {
    problem = h("p", { class: "reason" }, error.message);
  }
  const begun = affected.filter((task) => !["skipped", "upstream_failed"].includes(task.state));
  const list = begun.slice(0, SHOWN).map((task) => h("li", {}, h("code", {}, task.task_id), ` (${task.state})`));
  confirm(
    title,
    problem ?? [
      h("p", {}, explanation),
      h("p", {}, `${begun.length} tasks run again${affected.length > begun.length ? `, and ${affected.length - begun.length} that were skipped or not reached are looked at anew` : ""}:`),
      h("ul", {}, list, begun.length > SHOWN && h("li", {}, `and ${begun.length - SHOWN} more`)),
    ],
    "Run them again",
    async () => {
      await clear(false);
      await done();
    },
  );
}

export function cancelRun(run, done) {
  confirm(
    "Cancel this run?",
    h("p", {}, "Its tasks end as failed, and their batch jobs are ended. What was collected stays, and is used again if you clear the tasks."),
    "Cancel the run",
    async () => {
      const end = () => askAirflow("PATCH", runPath(run), { state: "failed" });
      await end();
      // A scheduler that was judging the run meanwhile finds what had not begun skipped, and may call that a success.
      for (const pause of [700, 2000]) {
        await new Promise((resolve) => setTimeout(resolve, pause));
        if ((await askAirflow("GET", runPath(run))).state !== "failed") await end();
      }
      await done();
    },
    "danger",
  );
}

export function answerSignOff(run, task_id, option, comment, done) {
  confirm(
    `${option} this result?`,
    h("p", {}, option === "Approve" ? "The result is published, where the definition says so." : "Nothing is published, and the run ends as failed."),
    option,
    async () => {
      const path = `${runPath(run)}/taskInstances/${encodeURIComponent(task_id)}/-1/hitlDetails`;
      await askAirflow("PATCH", path, { chosen_options: [option], params_input: { comment } });
      await done();
    },
    option === "Approve" ? "strong" : "danger",
  );
}
