// The run list: keys, and what is selected.
(() => {
  "use strict";

  const rows = () => [...document.querySelectorAll("#run-rows tbody tr:not(.gone)")];
  const link = (row) => row.querySelector("a.name, a.id");
  const box = (row) => row.querySelector("input[name=run]");
  const boxes = () => [...document.querySelectorAll("#run-rows input[name=run]")];
  const bar = document.querySelector("[data-bulk]");
  let lastBox = null;

  // -- selection

  function showSelection() {
    if (!bar) return;
    const every = boxes();
    const picked = every.filter((each) => each.checked);
    const all = bar.querySelector("[data-all]");
    if (!picked.length) all.checked = false;
    const head = document.querySelector("[data-pick-all]");
    if (head) {
      head.hidden = false;
      head.checked = picked.length > 0 && picked.length === every.length;
      head.indeterminate = picked.length > 0 && picked.length < every.length;
    }
    const total = document.querySelector("#tabs [aria-current] span")?.textContent ?? "";
    const words = total ? `all ${total} matching` : "all matching";
    bar.querySelector("[data-all-text]").textContent = `Select ${words}`;
    bar.querySelector("[data-picked]").textContent = all.checked
      ? words.replace("all", "All")
      : `${picked.length} selected`;
    const statuses = new Set(picked.map((each) => each.dataset.status));
    for (const button of bar.querySelectorAll("[data-for]")) {
      const fits = button.dataset.for.split(" ").some((status) => statuses.has(status));
      button.disabled = !all.checked && !fits;
      button.title = button.disabled ? button.dataset.none : "";
    }
  }

  function pickRange(to) {
    const every = boxes();
    const ends = [every.indexOf(lastBox), every.indexOf(to)].sort((a, b) => a - b);
    if (ends[0] < 0) return;
    for (const each of every.slice(ends[0], ends[1] + 1)) each.checked = to.checked;
  }

  document.addEventListener("click", (event) => {
    if (!event.target.matches("#run-rows input[name=run]")) return;
    if (event.shiftKey && lastBox) pickRange(event.target);
    lastBox = event.target;
    showSelection();
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) {
      for (const each of boxes()) each.checked = event.target.checked;
    }
    showSelection();
  });
  document.addEventListener("reset", () => setTimeout(showSelection));
  document.addEventListener("htmx:afterSettle", showSelection);
  window.addEventListener("pageshow", showSelection);

  // -- keys

  function step(way) {
    const every = rows();
    const at = every.findIndex((row) => row.contains(document.activeElement));
    const next = at < 0 ? (way > 0 ? 0 : every.length - 1) : at + way;
    link(every[Math.max(0, Math.min(next, every.length - 1))] ?? document.body)?.focus();
  }

  function turn(rel) {
    document.querySelector(`.pager a[rel=${rel}]`)?.click();
  }

  function pick() {
    const row = document.activeElement.closest("#run-rows tbody tr");
    const found = row && box(row);
    if (!found) return;
    found.checked = !found.checked;
    lastBox = found;
    showSelection();
  }

  const clear = () => document.getElementById("selection")?.reset();

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    x: pick,
    n: () => turn("next"),
    p: () => turn("prev"),
  };
  const rowKeys = { ArrowDown: keys.j, ArrowUp: keys.k };

  document.addEventListener("keydown", (event) => {
    const inRow = event.target.closest("#run-rows tbody tr");
    if (event.key === "Enter" && event.target.matches("#run-rows input")) {
      event.preventDefault(); // it would send the form
      if (inRow) link(inRow).click();
    } else if (event.key === "Escape" && !document.querySelector("details.menu[open], dialog[open]")) {
      clear();
    } else if (inRow && rowKeys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      rowKeys[event.key]();
    }
  });
  document.addEventListener("shortcut", (event) => keys[event.detail]?.());
})();
