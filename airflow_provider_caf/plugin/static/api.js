// Requests: to our own routes for what is shown, to Airflow's REST API for what is changed. Both use the session of the user.

export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function explain(status, body) {
  if (status === 401) return "You are not logged in. Log in to Airflow and open this page again.";
  if (status === 403) return "You may not see this. Ask for access to this DAG.";
  const detail = body?.detail;
  const said = typeof detail === "string" ? detail : detail?.message ?? detail?.reason ?? JSON.stringify(detail ?? "");
  return [said || `The server answered with status ${status}.`, body?.hint].filter(Boolean).join(" ");
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new RequestError(0, "The server cannot be reached.");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new RequestError(response.status, explain(response.status, body));
  return body;
}

function query(words) {
  const given = Object.entries(words).filter(([, value]) => value !== null && value !== undefined);
  return new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
}

/** Get something of a run. */
export function get(run, what, words = {}) {
  return ask(address(run, what, words));
}

/** Give the address of something of a run, for a link or a picture. */
export function address(run, what, words = {}) {
  return `api/dags/${encodeURIComponent(run.dag_id)}/${what}?${query({ run_id: run.run_id, ...words })}`;
}

export function getRuns(dag_id) {
  return ask(`api/runs?${query({ dag_id })}`);
}

/** Ask Airflow's own API, which is beside this page. */
export function askAirflow(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  return ask(`../api/v2/${path}`, { method, headers, body: body && JSON.stringify(body) });
}

export function dagPath(run) {
  return `dags/${encodeURIComponent(run.dag_id)}`;
}

export function runPath(run) {
  return `${dagPath(run)}/dagRuns/${encodeURIComponent(run.run_id)}`;
}

/** Give the address of a task in Airflow's own pages. */
export function taskAddress(run, task_id) {
  return `../dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}/tasks/${encodeURIComponent(task_id)}`;
}
