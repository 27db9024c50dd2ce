// Two runs side by side: what changed, by how much, and what else is different: "why slower".

function titleOf(number) {
  const row = number - 1;
  return [textOf("model", row), textOf("recipe", row), textOf("target", row), textOf("board", row), startedAt(row)].join(" · ");
}

function drawComparison() {
  const section = byId("comparison");
  const place = byId("sides");
  place.replaceChildren();
  section.hidden = !(state.a && state.b);
  if (section.hidden) return;
  const a = data.details[state.a], b = data.details[state.b];
  byId("title-a").textContent = "A: " + titleOf(state.a);
  byId("title-b").textContent = "B: " + titleOf(state.b);
  if (!a || !b) {
    place.append(element("p", "words", "One of these runs has no details on this page; hil compare compares any two."));
    return;
  }
  place.append(
    table("Figures", ["figure", "A", "B", "change"], figureRows(a.figures, b.figures)),
    table("Layers, most time lost first", ["layer", "A", "B", "change"], layerRows(a.layers, b.layers)),
    table("What else differs", ["condition", "A", "B", ""], conditionRows(a, b)),
    table("sdkconfig", ["entry", "A", "B", "why it matters"], configRows(a, b)),
  );
}

function table(title, heading, found) {
  const block = element("div", "compared");
  block.append(element("h3", "", title));
  if (!found.length) {
    block.append(element("p", "faint", title === "sdkconfig" ? "the same, or not recorded" : "nothing"));
    return block;
  }
  const made = element("table", "plain");
  const head = made.createTHead().insertRow();
  for (const text of heading) head.append(element("th", "", text));
  const body = made.createTBody();
  for (const { cells, look } of found) {
    const row = body.insertRow();
    if (look) row.className = look;
    for (const text of cells) row.append(element("td", "", text));
  }
  const box = element("div", "wide");
  box.tabIndex = 0;
  box.append(made);
  block.append(box);
  return block;
}

const number = (value, unit) => Number(value.toPrecision(5)).toString() + (unit ? " " + unit : "");

function change(before, after) {
  if (before === after) return "same";
  const share = before ? " (" + (after > before ? "+" : "") + ((100 * (after - before)) / Math.abs(before)).toFixed(1) + " %)" : "";
  return (after > before ? "+" : "") + Number((after - before).toPrecision(4)) + share;
}

function figureRows(a, b) {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.map((name) => {
    const [before, unit, better] = a[name] || [null, "", ""];
    const after = b[name] ? b[name][0] : null;
    if (before === null || after === null) return { cells: [name, before === null ? "–" : number(before, unit), after === null ? "–" : number(after, b[name][1]), ""] };
    const worse = better === "lower" ? after > before : after < before;
    const within = Math.abs(after - before) <= (a[name][3] || 0);
    return { cells: [name, number(before, unit), number(after, unit), change(before, after)], look: within ? "" : worse ? "worse" : "better" };
  });
}

function layerRows(a, b) {
  const summed = (layers) => layers.reduce((found, [name, , ms]) => found.set(name, (found.get(name) || 0) + ms), new Map());
  const before = summed(a), after = summed(b);
  return [...new Set([...before.keys(), ...after.keys()])]
    .map((name) => ({ name, x: before.get(name), y: after.get(name) }))
    .sort((p, q) => ((q.y || 0) - (q.x || 0)) - ((p.y || 0) - (p.x || 0)))
    .slice(0, 40)
    .map(({ name, x, y }) => ({
      cells: [name, milliseconds(x), milliseconds(y), x === undefined ? "only in B" : y === undefined ? "only in A" : change(x, y)],
      look: x === undefined || y === undefined || x === y ? "" : y > x ? "worse" : "better",
    }));
}

function conditionRows(a, b) {
  const before = { ...a.conditions, ...a.tools }, after = { ...b.conditions, ...b.tools };
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => (before[name] || "") !== (after[name] || ""))
    .map((name) => ({ cells: [name, before[name] || "–", after[name] || "–", ""] }));
}

function configRows(a, b) {
  const before = data.configs[a.conditions.sdkconfig_sha256], after = data.configs[b.conditions.sdkconfig_sha256];
  if (!before || !after) return [];
  return Object.keys({ ...before, ...after })
    .filter((name) => before[name] !== after[name])
    .map((name) => ({ name, why: data.effects[name] || "" }))
    .sort((p, q) => (p.why ? 0 : 1) - (q.why ? 0 : 1) || (p.name < q.name ? -1 : 1))
    .map(({ name, why }) => ({ cells: [name, before[name] || "off", after[name] || "off", why], look: why ? "culprit" : "" }));
}
