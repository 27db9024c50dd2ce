// Filters, keys, theme; the rest of the page follows what is chosen.

function update() {
  rows = chosenRows();
  active = Math.min(active, Math.max(0, rows.length - 1));
  byId("count").textContent = (rows.length === data.count ? "" : rows.length + " of ") + data.count + (data.count === 1 ? " run" : " runs");
  drawHead();
  drawRows();
  follow();
  drawComparison();
  writeHash();
}

// Plots and details of runs that are filtered out are hidden as well.
function follow() {
  const shown = new Set(rows.map((row) => String(row + 1)));
  for (const found of document.querySelectorAll("[data-run]")) found.hidden = !shown.has(found.dataset.run);
  for (const found of document.querySelectorAll("[data-model]")) {
    const model = !state.model.size || state.model.has(found.dataset.model);
    const board = !state.board.size || state.board.has(found.dataset.board);
    found.hidden = !(model && board);
  }
}

function drawChoices(name) {
  const list = byId("pick-" + name);
  const { values } = data.texts[name];
  list.replaceChildren();
  for (const value of [...values].sort()) {
    const label = element("label", "choice");
    const box = element("input");
    box.type = "checkbox";
    box.value = value;
    box.checked = state[name].has(value);
    box.addEventListener("change", () => {
      if (box.checked) state[name].add(value); else state[name].delete(value);
      update();
    });
    label.append(box, element("span", "", value));
    list.append(label);
  }
  byId("sum-" + name).textContent = name + "s (" + values.length + ")";
}

function drawSelect(name) {
  const select = byId("only-" + name);
  for (const value of [...data.texts[name].values].sort()) {
    const option = element("option", "", value);
    option.value = value;
    select.append(option);
  }
  select.addEventListener("change", () => { state[name] = select.value; update(); });
}

function showState() {
  byId("q").value = state.q;
  for (const name of ["status", "kind"]) byId("only-" + name).value = state[name];
  for (const name of ["model", "board"]) drawChoices(name);
  if (state.theme) document.documentElement.dataset.theme = state.theme; else delete document.documentElement.dataset.theme;
}

function toggleTheme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  state.theme = dark ? "light" : "dark";
  document.documentElement.dataset.theme = state.theme;
  writeHash();
}

function side(name) {
  if (!rows.length) return;
  const chosen = rows[active] + 1;
  state[name] = state[name] === chosen ? 0 : chosen;
  update();
  if (state.a && state.b) byId("comparison").scrollIntoView({ block: "nearest" });
}

const STEPS = { ArrowDown: 1, ArrowUp: -1 };

function inTable(event) {
  const page = Math.max(1, Math.floor(view.clientHeight / rowHeight()) - 1);
  if (event.key in STEPS) activate(active + STEPS[event.key]);
  else if (event.key === "PageDown") activate(active + page);
  else if (event.key === "PageUp") activate(active - page);
  else if (event.key === "Home") activate(0);
  else if (event.key === "End") activate(rows.length - 1);
  else if (event.key === "Enter" && rows.length) open(rows[active] + 1);
  else if (event.key === "a" || event.key === "b") side(event.key);
  else return;
  event.preventDefault();
}

function anywhere(event) {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "Escape") {
    if (state.run) { const card = byId("run-" + state.run); if (card) card.open = false; state.run = 0; }
    view.focus();
    update();
  } else if (event.key === "/" && !typing) {
    byId("q").focus();
    event.preventDefault();
  }
}

function start() {
  readHash();
  for (const name of ["status", "kind"]) drawSelect(name);
  showState();
  byId("plainrows").remove();
  byId("explore").hidden = false;
  byId("q").addEventListener("input", () => { state.q = byId("q").value; update(); });
  byId("theme").addEventListener("click", toggleTheme);
  byId("side-a").addEventListener("click", () => side("a"));
  byId("side-b").addEventListener("click", () => side("b"));
  for (const button of document.querySelectorAll(".only")) button.addEventListener("click", () => {
    state.status = state.status === button.dataset.status ? "" : button.dataset.status;
    showState();
    update();
    byId("runs").scrollIntoView({ block: "start" });
  });
  byId("clear").addEventListener("click", () => {
    Object.assign(state, { q: "", model: new Set(), board: new Set(), status: "", kind: "", sort: "", down: false, a: 0, b: 0, run: 0 });
    showState();
    update();
  });
  view.addEventListener("scroll", () => requestAnimationFrame(drawRows), { passive: true });
  view.addEventListener("keydown", inTable);
  document.addEventListener("keydown", anywhere);
  addEventListener("resize", drawRows);
  addEventListener("hashchange", () => { readHash(); showState(); update(); });
  update();
  if (state.run) open(state.run);
}

start();
