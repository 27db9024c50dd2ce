// The rows as columns, and what the reader has chosen. All text goes into the page as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function element(tag, classes, text) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  if (text !== undefined) made.textContent = text;
  return made;
}

const textOf = (column, row) => data.texts[column].values[data.texts[column].codes[row]];

function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.1) return (1000 * value).toFixed(1) + " us";
  return value.toFixed(value < 10 ? 3 : value < 100 ? 2 : value < 1000 ? 1 : 0) + " ms";
}

function framesPerSecond(value) {
  if (value === null || value === undefined) return "–";
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

function bytes(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1024) return value + " B";
  return value < 1048576 ? (value / 1024).toFixed(1) + " KiB" : (value / 1048576).toFixed(2) + " MiB";
}

const SIGNS = { ok: "✓ ok", worse: "✗ worse", failed: "✗ failed", wrong: "✗ wrong", broken: "! broken" };
const SEVERITY = { ok: 0, worse: 1, failed: 2, wrong: 3, broken: 4 };

// Columns of the table: `kind` says how they sort, `show` what a cell reads.
const COLUMNS = [
  { key: "status", title: "result", kind: "text", show: (row) => SIGNS[textOf("status", row)] },
  { key: "model", title: "model", kind: "text" },
  { key: "recipe", title: "recipe", kind: "text" },
  { key: "target", title: "target", kind: "text" },
  { key: "board", title: "board", kind: "text" },
  { key: "port", title: "port", kind: "text" },
  { key: "top1_pct", title: "top-1", kind: "number", show: (row) => textOf("top1", row).replace("->", "→") || "–" },
  { key: "median_ms", title: "latency", kind: "number", show: (row) => milliseconds(data.numbers.median_ms[row]) },
  { key: "fps", title: "fps", kind: "number", show: (row) => framesPerSecond(data.numbers.fps[row]) },
  { key: "arena_bytes", title: "arena", kind: "number", show: (row) => bytes(data.numbers.arena_bytes[row]) },
  { key: "started", title: "started", kind: "time", show: (row) => startedAt(row).slice(0, 16).replace("T", " ") },
];

const startedAt = (row) => data.started.values[data.started.codes[row]];

// ranks of the values of a text column, so that rows sort by numbers
const ranks = {};
function ranksOf(values, key) {
  if (!ranks[key]) {
    const order = values.map((_, code) => code).sort((a, b) => (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0));
    const found = new Int32Array(values.length);
    order.forEach((code, rank) => { found[code] = rank; });
    ranks[key] = found;
  }
  return ranks[key];
}

const state = { q: "", model: new Set(), board: new Set(), status: "", kind: "", sort: "", down: false, run: 0, a: 0, b: 0, theme: "" };

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ["q", "status", "kind", "theme"]) state[name] = given.get(name) || "";
  for (const name of ["model", "board"]) state[name] = new Set(given.getAll(name));
  for (const name of ["run", "a", "b"]) {
    const number = Number.parseInt(given.get(name) || "0", 10);
    state[name] = number >= 1 && number <= data.count ? number : 0;
  }
  const sort = given.get("sort") || "";
  state.down = sort.startsWith("-");
  const key = sort.replace(/^-/, "");
  state.sort = COLUMNS.some((column) => column.key === key) ? key : "";
}

function writeHash() {
  const said = new URLSearchParams();
  for (const name of ["q", "status", "kind", "theme"]) if (state[name]) said.set(name, state[name]);
  for (const name of ["model", "board"]) for (const value of state[name]) said.append(name, value);
  for (const name of ["run", "a", "b"]) if (state[name]) said.set(name, String(state[name]));
  if (state.sort) said.set("sort", (state.down ? "-" : "") + state.sort);
  const text = said.toString();
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}

// Rows that pass all filters, in order.
function chosenRows() {
  const masks = [];
  const keep = (column, wanted) => {
    const { values, codes } = data.texts[column];
    const fits = values.map((value) => (wanted(value) ? 1 : 0));
    masks.push((row) => fits[codes[row]]);
  };
  for (const name of ["model", "board"]) if (state[name].size) keep(name, (value) => state[name].has(value));
  for (const name of ["status", "kind"]) if (state[name]) keep(name, (value) => value === state[name]);
  for (const word of state.q.toLowerCase().split(/\s+/).filter(Boolean)) {
    const fits = Object.values(data.texts).map(({ values, codes }) => {
      const hits = values.map((value) => (value.toLowerCase().includes(word) ? 1 : 0));
      return hits.includes(1) ? (row) => hits[codes[row]] : null;
    }).filter(Boolean);
    masks.push((row) => fits.some((fit) => fit(row)));
  }
  const rows = [];
  for (let row = 0; row < data.count; row++) if (masks.every((mask) => mask(row))) rows.push(row);
  return state.sort ? sorted(rows) : worstFirst(rows);
}

// What is wrong comes first, otherwise the rows keep their order.
function worstFirst(rows) {
  const { values, codes } = data.texts.status;
  const weight = values.map((value) => SEVERITY[value] || 0);
  if (weight.every((found) => found === 0)) return rows;
  const heaps = [[], [], [], [], []];
  for (const row of rows) heaps[weight[codes[row]]].push(row);
  return heaps.reverse().flat();
}

function sorted(rows) {
  const column = COLUMNS.find((found) => found.key === state.sort);
  let value;
  if (column.kind === "number") {
    const numbers = data.numbers[column.key];
    value = (row) => numbers[row];
  } else {
    const { values, codes } = column.kind === "time" ? data.started : data.texts[column.key];
    const rank = ranksOf(values, column.key);
    value = (row) => rank[codes[row]];
  }
  const way = state.down ? -1 : 1;
  return rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === y) return a - b;
    if (x === null) return 1;  // what was not measured comes last, either way
    if (y === null) return -1;
    return x < y ? -way : way;
  });
}
