// Keeps an open page up to date. A fragment says what it shows, and how often it may be asked for:
//
//   <div id="rows" data-refresh="runs workers" data-pace="2000"
//        hx-get="/runs/live/?…" hx-trigger="refresh" hx-swap="morph:outerHTML">
//
// What grows old by itself also says after how long: data-every="10000". What is counted only a
// while after it happened says when to ask once more: data-again="12000".
//
// Topics are those of /live/: run:<id>, job:<name>, runs, workers. One stream of events for the
// whole page tells what changed, never how it is now; the fragments concerned then ask for
// themselves. Without a stream they ask every few seconds.
(() => {
  "use strict";

  const POLL = 3000; // without a stream
  const PATIENCE = 10000; // for a stream to open
  const SILENCE = 40000; // the server gives a sign every 15 s
  const WORDS = { live: "Live", paused: "Paused", reconnecting: "Reconnecting", gone: "Deleted" };

  const path = document.body.dataset.live;
  let after = document.body.dataset.after || "";
  let stream = null;
  let streamed = ""; // the topics of the stream
  let state = "reconnecting";
  let said = "live"; // what was announced last
  const openedAt = Date.now();
  let lastSign = openedAt;
  let closedSince = Date.now();
  let failures = 0;
  let retryAt = 0;
  const refreshed = new Map(); // by id of the fragment: when it was last asked for
  const due = new Map(); // by id: the timer of its next refresh
  const later = new Map(); // by id: the timer of asking once more
  const took = new Map(); // by id: how long the last answer took
  const busy = new Set(); // ids under way
  const wanted = new Set(); // ids that changed while they could not be asked for

  const fragments = () => [...document.querySelectorAll("[data-refresh]")];
  const topicsOf = (element) => element.dataset.refresh.split(" ").filter(Boolean);
  const topics = () => [...new Set(fragments().flatMap(topicsOf))].sort();
  // A server that is slow to answer is asked less often.
  const paceOf = (element) =>
    Math.max(Number(element.dataset.pace) || 1000, 5 * (took.get(element.id) ?? 0));

  // -- what people see

  function agoText() {
    const seconds = Math.round((Date.now() - lastSign) / 1000);
    return seconds < 2 ? "now" : `${seconds} s ago`;
  }

  function show() {
    const watching = fragments().length > 0;
    for (const button of document.querySelectorAll("[data-live-button]")) {
      button.hidden = !watching;
      button.classList.toggle("on", state === "live");
      button.setAttribute("aria-pressed", String(state !== "paused"));
      button.title = state === "paused" ? "Resume live updates" : "Pause live updates";
      button.querySelector("[data-live-word]").textContent = WORDS[state];
      button.querySelector(".sub").textContent = state === "live" ? agoText() : "";
    }
  }

  function announce() {
    // Short interruptions are not worth a word.
    const steady = state !== "reconnecting" || Date.now() - closedSince > 3000;
    if (state === said || !steady) return;
    said = state;
    const words = { live: "Live updates are on", paused: "Live updates are paused" };
    document.getElementById("announce").textContent =
      words[state] ?? (state === "gone" ? "This was deleted" : "Reconnecting");
  }

  function become(next) {
    state = next;
    show();
    announce();
  }

  // -- fragments

  function refresh(element) {
    const id = element.id;
    if (due.has(id)) return;
    const wait = (refreshed.get(id) ?? 0) + paceOf(element) - Date.now();
    due.set(id, setTimeout(() => ask(id), Math.max(wait, 0)));
  }

  function ask(id) {
    due.delete(id);
    const element = document.getElementById(id);
    if (!element?.dataset.refresh) return;
    if (busy.has(id) || state === "paused" || document.hidden) {
      wanted.add(id);
      return;
    }
    busy.add(id);
    refreshed.set(id, Date.now());
    htmx.trigger(element, "refresh");
  }

  function askAgain(element) {
    const { id } = element;
    const wait = Number(element.dataset.again);
    if (!wait || later.has(id)) return;
    const once = () => {
      later.delete(id);
      const found = document.getElementById(id);
      if (found) refresh(found);
    };
    later.set(id, setTimeout(once, wait));
  }

  function askWanted() {
    for (const element of fragments()) {
      if (wanted.delete(element.id)) refresh(element);
    }
  }

  function concerns(element, change) {
    const runs = new Set((change.events ?? []).map((event) => event[1]));
    const touched = new Set([...runs, ...(change.moved ?? []), ...(change.gone ?? [])]);
    return topicsOf(element).some((topic) => {
      if (topic === "workers") return change.workers;
      if (topic.startsWith("run:")) return touched.has(topic.slice(4));
      const shown = [...touched].some((run) => element.querySelector(`[id="run-${run}"]`));
      return runs.size > 0 || shown;
    });
  }

  function onChanges(event) {
    after = event.lastEventId;
    const change = JSON.parse(event.data);
    for (const element of fragments()) {
      if (!change.reset && !concerns(element, change)) continue;
      refresh(element);
      askAgain(element);
    }
  }

  // -- the stream

  function open() {
    close();
    const names = topics();
    if (!names.length || state === "paused" || state === "gone" || document.hidden) return;
    streamed = names.join(" ");
    const query = new URLSearchParams(names.map((topic) => ["topic", topic]));
    if (after) query.set("after", after);
    stream = new EventSource(`${path}?${query}`);
    stream.addEventListener("open", () => {
      failures = 0;
      sign();
      become("live");
    });
    stream.addEventListener("changes", (event) => {
      sign();
      onChanges(event);
    });
    stream.addEventListener("beat", sign);
    stream.addEventListener("error", onError);
  }

  const isOpen = () => stream?.readyState === EventSource.OPEN;

  function close() {
    stream?.close();
    stream = null;
    streamed = "";
  }

  function sign() {
    lastSign = Date.now();
    closedSince = Date.now();
  }

  function onError() {
    if (state === "live") become("reconnecting");
    // The browser tries again by itself, unless the server answered with an error.
    if (stream.readyState !== EventSource.CLOSED) return;
    close();
    failures += 1;
    retryAt = Date.now() + Math.min(2000 * 2 ** failures, 30000);
  }

  function tick() {
    if (state !== "paused" && state !== "gone" && !document.hidden) watch(Date.now());
    show();
    announce();
  }

  function watch(now) {
    const silent = isOpen() && now - lastSign > SILENCE;
    const others = stream && streamed !== topics().join(" ");
    if (silent || others || (!stream && now >= retryAt)) open();
    if (!isOpen() && (failures || now - closedSince > PATIENCE)) poll(now);
    for (const element of fragments()) {
      const every = Number(element.dataset.every);
      if (every && now - (refreshed.get(element.id) ?? openedAt) >= every) refresh(element);
    }
  }

  function poll(now) {
    for (const element of fragments()) {
      const pace = Math.max(POLL, paceOf(element));
      if (now - (refreshed.get(element.id) ?? 0) >= pace) refresh(element);
    }
  }

  document.addEventListener("htmx:afterRequest", (event) => {
    const element = event.detail.requestConfig.elt;
    if (!busy.delete(element.id)) return;
    took.set(element.id, Date.now() - refreshed.get(element.id));
    if (wanted.delete(element.id)) refresh(element);
    if (event.detail.successful && !isOpen() && state !== "paused") {
      lastSign = Date.now(); // asking works: that is live, only slower
      become("live");
    }
    if (event.detail.xhr.status === 404) {
      close();
      become("gone");
    }
  });

  document.addEventListener("visibilitychange", () => {
    // A browser opens six connections to a site: a tab that nobody sees gives its own back.
    if (document.hidden) {
      close();
    } else {
      open();
      askWanted();
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && open());

  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-live-button]") || state === "gone") return;
    if (state === "paused") {
      become("reconnecting");
      open();
      askWanted();
    } else {
      become("paused");
      close();
    }
  });

  setInterval(tick, 1000);
  open();
  show();
})();
