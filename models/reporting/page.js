"use strict";
// The page is complete without this script, which only highlights, sorts and hides parts of it.

const all = (query, within = document) => [...within.querySelectorAll(query)];

// Runs in plots: a chip toggles the highlight of its run.
for (const chip of all("[data-chip]")) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.append(...chip.childNodes);
  button.setAttribute("aria-pressed", "false");
  chip.replaceChildren(button);
  button.addEventListener("click", () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    for (const other of all("[data-chip] button")) {
      other.setAttribute("aria-pressed", String(pressed && other === button));
    }
    for (const series of all(".series")) {
      series.classList.toggle("quiet", pressed && series.dataset.run !== chip.dataset.chip);
    }
  });
}

for (const gallery of all(".gallery")) startGallery(gallery);

function startGallery(gallery) {
  const rows = all("tbody tr", gallery);
  const panels = all(".user", gallery);
  const tools = gallery.querySelector(".tools");
  const showUser = (id) => {
    for (const panel of panels) panel.hidden = panel.id !== id;
    for (const row of rows) {
      row.classList.toggle("chosen", row.dataset.user === id);
      const link = row.querySelector("a");
      if (row.dataset.user === id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  const follow = () => {
    const panel = panels.find((candidate) => `#${candidate.id}` === location.hash);
    if (panel) {
      showUser(panel.id);
      panel.focus({ preventScroll: true });
      panel.scrollIntoView();
    }
  };
  const visible = () => all("tbody tr", gallery).filter((row) => !row.hidden);
  showUser(panels[0].id);
  follow();
  addEventListener("hashchange", follow);
  for (const panel of panels) addSteps(panel, visible);
  addTabs(gallery, panels);
  addSorting(gallery);
  tools.hidden = false;
  tools.addEventListener("submit", (event) => event.preventDefault());
  const narrow = () => {
    filter(rows, tools.elements.find.value, tools.elements.show.value);
    gallery.querySelector(".none").hidden = visible().length > 0;
  };
  tools.addEventListener("input", narrow);
  tools.addEventListener("change", narrow);
}

// Buttons for the previous and next user, in the current order of the table.
function addSteps(panel, visible) {
  const steps = document.createElement("div");
  steps.className = "steps";
  for (const [symbol, label, step] of [["←", "Previous user", -1], ["→", "Next user", 1]]) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: symbol });
    button.setAttribute("aria-label", label);
    button.addEventListener("click", () => {
      const rows = visible();
      if (!rows.length) return;
      const index = rows.findIndex((row) => row.dataset.user === panel.id);
      const row = index < 0 ? rows[0] : rows[(index + step + rows.length) % rows.length];
      location.hash = row.dataset.user;
    });
    steps.append(button);
  }
  panel.querySelector(".head").append(steps);
}

// Tabs that show one run's list at a time, the same run for all users.
function addTabs(gallery, panels) {
  const runs = all(".list", panels[0]).map((list) => list.dataset.list);
  if (runs.length < 2) return;
  const show = (run) => {
    for (const list of all(".list", gallery)) list.hidden = list.dataset.list !== run;
    for (const tab of all("[role=tab]", gallery)) {
      const chosen = tab.dataset.tab === run;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
  };
  for (const panel of panels) {
    const tabs = document.createElement("div");
    tabs.className = "tabs";
    tabs.setAttribute("role", "tablist");
    tabs.setAttribute("aria-label", "Runs");
    for (const list of all(".list", panel)) {
      const chip = list.querySelector(".chip");
      const tab = Object.assign(document.createElement("button"), { type: "button", textContent: chip.textContent });
      tab.className = chip.className;
      tab.dataset.tab = list.dataset.list;
      tab.id = `${panel.id}-tab-${list.dataset.list}`;
      list.id = `${panel.id}-list-${list.dataset.list}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", list.id);
      list.setAttribute("role", "tabpanel");
      list.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", () => show(tab.dataset.tab));
      tabs.append(tab);
    }
    tabs.addEventListener("keydown", (event) => {
      const index = runs.indexOf(event.target.dataset.tab);
      const next = { ArrowRight: index + 1, ArrowLeft: index - 1 + runs.length, Home: 0, End: runs.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(runs[next % runs.length]);
      tabs.children[next % runs.length].focus();
    });
    panel.querySelector(".lists").before(tabs);
  }
  show(runs[0]);
}

function addSorting(gallery) {
  const heads = all("thead th", gallery);
  const body = gallery.querySelector("tbody");
  heads.forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (row) => row.children[column].textContent;
      const order = (a, b) => (head.classList.contains("right") ? value(key(a)) - value(key(b)) : key(a).localeCompare(key(b)));
      body.append(...all("tr", body).sort((a, b) => (rising ? order(a, b) : order(b, a))));
    });
  });
}

const value = (text) => Number(text.replaceAll(",", ""));

function filter(rows, find, show) {
  for (const row of rows) {
    const hits = row.dataset.hits.split(" ");
    const matches = !show || (show[0] === "!" ? !hits.includes(show.slice(1)) : hits.includes(show));
    row.hidden = !matches || !row.dataset.find.includes(find.trim().toLowerCase());
  }
}
