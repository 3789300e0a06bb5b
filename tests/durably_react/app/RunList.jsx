import { createDurably } from "@coji/durably-react";
import { useState } from "react";

const durably = createDurably({ api: "/api/durably" });

/** The newest runs of a job, and what can be done to them. */
export function RunList({ jobName, labels, pageSize }) {
  const list = durably.useRuns({ jobName, labels, pageSize });
  const actions = durably.useRunActions();
  const [problem, setProblem] = useState("");

  async function attempt(action) {
    setProblem("");
    try {
      await action();
    } catch (error) {
      setProblem(error.message);
    }
  }

  return (
    <section>
      {(problem || list.error) && <p role="alert">{problem || list.error}</p>}
      <ul>
        {list.runs.map((run) => (
          <li key={run.id} data-run={run.id}>
            <span className="status">{run.status}</span>
            <span className="steps">{run.currentStepIndex}</span>
            <span className="progress">{run.progress?.message}</span>
            <button onClick={() => attempt(() => actions.cancel(run.id))}>Cancel</button>
            <button onClick={() => attempt(() => actions.retrigger(run.id))}>Run again</button>
            <button onClick={() => attempt(() => actions.deleteRun(run.id))}>Delete</button>
          </li>
        ))}
      </ul>
      <p className="page">Page {list.page + 1}</p>
      <button onClick={list.prevPage} disabled={list.page === 0}>Newer</button>
      <button onClick={list.nextPage} disabled={!list.hasMore}>Older</button>
    </section>
  );
}
