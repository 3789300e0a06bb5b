// What plain HTML can't do. Every page works without this file.
(() => {
  "use strict";

  // A refresh never closes what somebody opened, nor overwrites what somebody typed or chose.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => {
    const typed = ["value", "checked"].includes(name) && element.matches("input, textarea");
    const opened = name === "open" && element.tagName === "DETAILS";
    const added = name === "hidden" && element.matches("[data-copy], [data-pick-all]");
    return !(typed || opened || added);
  };
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) =>
    !(node instanceof Element && node.matches("[data-live-button]"));

  function showCopyButtons() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll("[data-copy]")) button.hidden = false;
  }

  const browserZone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  function showBrowserZone() {
    const zone = browserZone;
    for (const button of document.querySelectorAll("[data-browser-zone]")) {
      const known = [...button.form.querySelectorAll("[name=zone]")];
      if (!zone || known.some((other) => other !== button && other.value === zone)) continue;
      button.value = zone;
      button.textContent = `${zone} (this browser)`;
      button.hidden = false;
    }
  }

  // Until somebody chooses, times are those of the browser's zone.
  async function useBrowserZone() {
    const form = document.querySelector("[data-browser-zone]")?.form;
    if (!form || !browserZone || !("askZone" in document.body.dataset)) return;
    const data = new FormData(form);
    data.set("zone", browserZone);
    const answer = await fetch(form.action, { method: "POST", body: data, redirect: "manual" });
    const shown = form.querySelector("[aria-pressed=true]").value;
    if (answer.type === "opaqueredirect" && shown !== browserZone) location.reload();
  }

  // Durations of what still runs, as format.py writes them.
  function durationText(seconds) {
    const two = (number) => String(number).padStart(2, "0");
    const whole = Math.round(seconds);
    if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
    const minutes = Math.floor((whole % 3600) / 60);
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(minutes)} m`;
    const hours = Math.floor((whole % 86400) / 3600);
    return `${Math.floor(whole / 86400).toLocaleString("en")} d ${two(hours)} h`;
  }

  // How far the browser's clock is off, if it is.
  const ahead = Date.now() - Number(document.body.dataset.now) * 1000;
  const skew = Math.abs(ahead) > 3000 ? ahead : 0;

  function showDurations() {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("[data-since]")) {
      const seconds = (Date.now() - skew - Date.parse(element.dataset.since)) / 1000;
      element.textContent = durationText(Math.max(seconds, 0));
    }
  }

  const atBottom = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  let following = false;
  document.addEventListener("htmx:beforeSwap", () => {
    const log = document.querySelector("[data-follow]");
    following = log !== null && atBottom(log);
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const log = document.querySelector("[data-follow]");
    if (log && following) log.scrollTop = log.scrollHeight;
    showCopyButtons();
    event.detail.elt?.removeAttribute?.("aria-busy");
  });

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const source = document.getElementById(copy.dataset.copy);
      await navigator.clipboard.writeText((source.dataset.text ?? source.textContent).trim());
      document.getElementById("announce").textContent = "Copied";
    }
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });

  // -- keys: one at a time, unless somebody who speaks to the machine switched that off

  const sheet = document.getElementById("shortcuts");
  const shortcutsOn = () => localStorage.getItem("shortcuts") !== "off";
  const shortcuts = {
    "/": () => document.getElementById("find").focus(),
    "?": showShortcuts,
    l: () => document.querySelector("[data-live-button]:not([hidden])")?.click(),
  };

  function showShortcuts() {
    sheet.querySelector("[data-shortcuts-on]").checked = shortcutsOn();
    sheet.showModal();
  }

  sheet.addEventListener("change", (event) => {
    localStorage.setItem("shortcuts", event.target.checked ? "on" : "off");
  });
  sheet.addEventListener("click", (event) => {
    if (event.target === sheet) sheet.close(); // beside it
  });
  for (const button of document.querySelectorAll("[data-shortcuts]")) {
    button.hidden = false;
    button.addEventListener("click", showShortcuts);
  }

  function closeMenu() {
    const menu = document.querySelector("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || sheet.open) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
      if (event.key === "Escape") closeMenu();
      return;
    }
    if (event.key === "Escape") setTimeout(closeMenu);
    else if (event.key.length === 1 && event.key !== " " && shortcutsOn()) {
      if (shortcuts[event.key]) event.preventDefault();
      shortcuts[event.key]?.();
      document.dispatchEvent(new CustomEvent("shortcut", { detail: event.key }));
    }
  });

  showCopyButtons();
  showBrowserZone();
  useBrowserZone();
  setInterval(showDurations, 1000);
  const log = document.querySelector("[data-follow]");
  if (log) log.scrollTop = log.scrollHeight;
})();
