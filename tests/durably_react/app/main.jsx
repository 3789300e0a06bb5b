// One page for all hooks. Its address says which are shown: a browser has six connections.
import { useJob, useJobLogs, useJobRun, useRunActions } from "@coji/durably-react";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { OrderForm } from "./OrderForm.jsx";
import { RunList } from "./RunList.jsx";

const api = "/api/durably";
const query = new URLSearchParams(location.search);
const input = query.has("input") ? JSON.parse(query.get("input")) : undefined;

/** What a hook says, as text to look for. */
function Shown({ hook, name }) {
  return (
    <dl aria-label={name}>
      {["status", "isActive", "isTerminal", "error", "currentRunId"].map((key) => (
        <dd key={key} className={key}>{String(hook[key] ?? "")}</dd>
      ))}
      <dd className="progress">{hook.progress ? JSON.stringify(hook.progress) : ""}</dd>
      <dd className="output">{hook.output ? JSON.stringify(hook.output) : ""}</dd>
      <dd><Log lines={hook.logs} /></dd>
    </dl>
  );
}

function Log({ lines }) {
  return (
    <ol>
      {lines.map((line) => (
        <li key={line.id}>{`${line.level} ${line.message} ${JSON.stringify(line.data)}`}</li>
      ))}
    </ol>
  );
}

function JobPage() {
  const job = useJob({
    api,
    jobName: query.get("job"),
    autoResume: query.get("resume") !== "no",
    followLatest: query.get("follow") !== "no",
  });
  const [waited, setWaited] = useState("");

  function trigger() {
    job.trigger(input).catch((error) => setWaited(`refused: ${error.message}`));
  }

  function triggerAndWait() {
    job.triggerAndWait(input).then(
      (result) => setWaited(`resolved: ${result.runId} ${JSON.stringify(result.output)}`),
      (error) => setWaited(`rejected: ${error.message}`),
    );
  }

  return (
    <>
      <button onClick={trigger}>Trigger</button>
      <button onClick={triggerAndWait}>Trigger and wait</button>
      <button onClick={job.reset}>Reset</button>
      <Shown name="job" hook={job} />
      <p role="status">{waited}</p>
    </>
  );
}

function RunPage() {
  const runId = query.get("run");
  const [called, setCalled] = useState([]);
  const call = (name) => () => setCalled((before) => [...before, name]);
  const run = useJobRun({
    api,
    runId,
    onStart: call("start"),
    onComplete: call("complete"),
    onFail: call("fail"),
  });
  const { logs, clearLogs } = useJobLogs({ api, runId, maxLogs: 5 });
  return (
    <>
      <Shown name="run" hook={run} />
      <p className="called">{called.join(" ")}</p>
      <div id="last-lines"><Log lines={logs} /></div>
      <button onClick={clearLogs}>Clear</button>
    </>
  );
}

function ActionPage() {
  const actions = useRunActions({ api });
  const [answer, setAnswer] = useState("");

  function call(name) {
    actions[name](query.get("run")).then(
      (value) => setAnswer(JSON.stringify(value) ?? "done"),
      (error) => setAnswer(`error: ${error.message}`),
    );
  }

  return (
    <>
      {["getRun", "getSteps", "cancel", "retrigger", "deleteRun"].map((name) => (
        <button key={name} onClick={() => call(name)}>{name}</button>
      ))}
      <output>{answer}</output>
    </>
  );
}

function ListPage() {
  const labels = query.has("org") ? { "team/org.name": query.get("org") } : undefined;
  return <RunList jobName={query.get("job") ?? undefined} labels={labels} pageSize={3} />;
}

const pages = { job: JobPage, run: RunPage, actions: ActionPage, list: ListPage, order: OrderForm };
const Page = pages[query.get("show")];
createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
