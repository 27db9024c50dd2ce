// The table: only the rows in sight exist, so that a hundred thousand of them scroll as fast as ten.

const view = byId("view");
const spacer = byId("spacer");
const phone = matchMedia("(max-width: 46rem)");
let rows = [];
let active = 0;

const rowHeight = () => (phone.matches ? 92 : 40);

function drawHead() {
  const head = byId("head");
  head.replaceChildren();
  for (const column of COLUMNS) {
    const button = element("button", column.kind === "number" ? "number" : "", column.title);
    const cell = element("div", "cell " + column.key + (column.kind === "number" ? " number" : ""));
    const is = state.sort === column.key;
    cell.setAttribute("role", "columnheader");
    cell.setAttribute("aria-sort", is ? (state.down ? "descending" : "ascending") : "none");
    button.type = "button";
    button.dataset.sort = column.key;
    if (is) button.append(element("span", "", state.down ? " ▼" : " ▲"));
    button.addEventListener("click", () => sortBy(column.key));
    cell.append(button);
    head.append(cell);
  }
}

function sortBy(key) {
  if (state.sort !== key) { state.sort = key; state.down = false; }
  else if (!state.down) state.down = true;
  else { state.sort = ""; state.down = false; }
  update();
}

function drawRow(place) {
  const row = rows[place];
  const made = element("div", "row " + textOf("status", row));
  made.setAttribute("role", "row");
  made.setAttribute("aria-rowindex", String(place + 2));
  made.id = "row-" + (row + 1);
  made.style.top = place * rowHeight() + "px";
  made.style.height = rowHeight() + "px";
  if (textOf("words", row)) made.classList.add("said");
  if (place === active) made.classList.add("active");
  if (state.run === row + 1) made.setAttribute("aria-selected", "true");
  for (const column of COLUMNS) made.append(cellOf(column, row));
  made.addEventListener("click", () => { activate(place); open(row + 1); });
  return made;
}

function cellOf(column, row) {
  const cell = element("div", "cell " + column.key + (column.kind === "number" ? " number" : ""));
  cell.setAttribute("role", "gridcell");
  const words = textOf("words", row);
  const said = words && column.key === "port" ? words : column.show ? column.show(row) : textOf(column.key, row);
  const text = element("span", "", said);
  text.title = said;
  cell.append(text);
  const mark = textOf("mark", row);
  const marked = column.key === "board" || column.key === "median_ms" || column.key === "arena_bytes";
  if (mark && marked) cell.append(badge(mark));
  const rule = column.key === "median_ms" ? textOf("validity", row) : "";
  if (rule) {
    const told = element("small", "rule", rule);
    told.title = "breaks a rule of measuring: " + rule;
    cell.append(told);
  }
  if (column.key === "model") cell.append(element("small", "onphone", textOf("recipe", row)));
  if (column.key === "model" && data.attempt[row] > 1) cell.append(element("small", "", "attempt " + data.attempt[row]));
  if (column.key === "model") for (const side of ["a", "b"]) if (state[side] === row + 1) cell.append(element("b", "side", side.toUpperCase()));
  return cell;
}

const MARKED = {
  EMU: "emulated: the firmware in an emulator answered, not a chip",
  PRED: "predicted: a PC answered, and the latency is what hil predict says of the chip",
  SIM: "simulated: a PC answered, not a chip",
};

function badge(mark) {
  const made = element("abbr", "sim", mark);
  made.title = MARKED[mark];
  return made;
}

function drawRows() {
  const height = rowHeight();
  // one bar for both: the headings lie outside of what scrolls, so that they stay in sight
  byId("head").style.transform = `translateX(${-view.scrollLeft}px)`;
  spacer.style.height = rows.length * height + "px";
  const first = Math.max(0, Math.floor(view.scrollTop / height) - 8);
  const last = Math.min(rows.length, Math.ceil((view.scrollTop + view.clientHeight) / height) + 8);
  const made = [];
  for (let place = first; place < last; place++) made.push(drawRow(place));
  spacer.replaceChildren(...made);
  view.setAttribute("aria-rowcount", String(rows.length + 1));
  if (rows.length) view.setAttribute("aria-activedescendant", "row-" + (rows[active] + 1));
}

function activate(place) {
  if (!rows.length) return;
  active = Math.min(rows.length - 1, Math.max(0, place));
  const height = rowHeight(), top = active * height;
  if (top < view.scrollTop) view.scrollTop = top;
  if (top + height > view.scrollTop + view.clientHeight) view.scrollTop = top + height - view.clientHeight;
  drawRows();
}

// The details of a run are on the page for some runs only; the others say so.
function open(number) {
  state.run = number;
  const card = byId("run-" + number);
  byId("nodetails").hidden = Boolean(card);
  byId("nodetails").textContent = card ? "" : "Run " + number + " has no details on this page; its figures are in results.csv.";
  if (card) {
    card.hidden = false;
    card.open = true;
    card.scrollIntoView({ block: "start" });
    card.querySelector("summary").focus({ preventScroll: true });
  }
  writeHash();
  drawRows();
}
