"use strict";
// A place to play without a network: convolution, pooling and activation functions by hand.

const PATTERNS = {
  "cross": (y, x, n) => +(Math.abs(y - (n - 1) / 2) < 1 || Math.abs(x - (n - 1) / 2) < 1),
  "edge": (y, x, n) => +(x >= n / 2),
  "stripes": (y, x) => x % 2,
  "ramp": (y, x, n) => x / (n - 1),
  "spot": (y, x, n) => +(y === Math.floor(n / 2) && x === Math.floor(n / 2)),
};
const FILTERS = {
  "edge": n => (i, j) => j === 0 ? -1 : j === n - 1 ? 1 : 0,
  "blur": n => () => 1 / (n * n),
  "sharpen": n => (i, j) => i === n >> 1 && j === n >> 1 ? 2 - 1 / (n * n) : -1 / (n * n),
  "nothing": n => (i, j) => +(i === n >> 1 && j === n >> 1),
};
const PLAY = { size: 7, kernel: 3, stride: 1, padding: 0, dilation: 1, channels: 1, at: 7, pattern: "edge", filter: "edge", input: [], weights: [] };

const outputSide = () => Math.floor((PLAY.size + 2 * PLAY.padding - PLAY.dilation * (PLAY.kernel - 1) - 1) / PLAY.stride) + 1;

function fillPlay(what) {
  const { size: n, kernel: k, channels } = PLAY;
  if (what !== "filter") PLAY.input = Array.from({ length: channels }, (_, c) => Array.from({ length: n }, (_, y) =>
    Array.from({ length: n }, (_, x) => +(PATTERNS[PLAY.pattern](y, x, n) * (1 - c / 3)).toFixed(2))));
  if (what !== "input") PLAY.weights = Array.from({ length: channels }, () => Array.from({ length: k }, (_, i) =>
    Array.from({ length: k }, (_, j) => +FILTERS[PLAY.filter](k)(i, j).toFixed(2))));
}

// Products under the filter at a place of the output, and their sum.
function playAt(y, x) {
  const { kernel: k, stride, padding, dilation, size: n, input, weights } = PLAY, products = [];
  weights.forEach((filter, c) => filter.forEach((row, i) => row.forEach((weight, j) => {
    const r = y * stride - padding + i * dilation, s = x * stride - padding + j * dilation;
    products.push({ weight, value: input[c][r]?.[s] ?? 0 });
  })));
  return { products, sum: products.reduce((sum, one) => sum + one.weight * one.value, 0) };
}

// Makes the cells of a table reachable by keyboard: arrows move a cursor, the space bar does what a click does.
const CURSORS = {};
function withKeys(table, id) {
  Object.assign(table, { id, tabIndex: 0 });
  const cell = () => table.rows[CURSORS[id].y]?.cells[CURSORS[id].x];
  const show = on => { table.querySelectorAll(".cursor").forEach(one => one.classList.remove("cursor")); if (on) cell()?.classList.add("cursor"); };
  CURSORS[id] ||= { y: 0, x: 0 };
  table.addEventListener("focus", () => show(true));
  table.addEventListener("blur", () => show(false));
  table.addEventListener("keydown", event => {
    const arrow = ARROWS[event.key], at = CURSORS[id];
    if (arrow) {
      at.y = Math.min(table.rows.length - 1, Math.max(0, at.y + arrow[0]));
      at.x = Math.min(table.rows[0].cells.length - 1, Math.max(0, at.x + arrow[1]));
      show(true);
      cell().dispatchEvent(new PointerEvent("pointerenter"));
    } else if (event.key === " ") cell()?.click();
    else return;
    event.preventDefault();
    document.getElementById(id)?.focus({ preventScroll: true });  // it may have been drawn again
  });
  return table;
}

function drawPlay() {
  const { kernel: k, stride, padding: p, dilation, size: n, channels } = PLAY, side = outputSide();
  find("#play-warning").hidden = side >= 1;
  for (const key of ["size", "kernel", "stride", "padding", "dilation", "channels"]) find(`#play-${key}`).nextElementSibling.textContent = PLAY[key];
  find("#play-formula").textContent = `output = ⌊(input + 2 × padding − dilation × (kernel − 1) − 1) ÷ stride⌋ + 1 = ⌊(${n} + 2 × ${p} − ${dilation} × ${k - 1} − 1) ÷ ${stride}⌋ + 1 = ${Math.max(0, side)}`;
  if (side < 1) { find("#play-grids").replaceChildren(); return; }
  PLAY.at = Math.min(PLAY.at, side * side - 1);
  const at = { y: Math.floor(PLAY.at / side), x: PLAY.at % side }, rows = [...Array(n + 2 * p).keys()].map(r => r - p);
  const inWindow = (position, place) => { const d = position - (place * stride - p); return d >= 0 && d % dilation === 0 && d / dilation < k; };
  const input = PLAY.input.map((map, c) => withKeys(element("table", { class: "play", "aria-label": `input, channel ${c}; the space bar changes a value` }, rows.map(r => element("tr", {}, rows.map(s => {
    const outside = map[r]?.[s] === undefined, value = outside ? 0 : map[r][s];
    return element("td", { class: [outside && "outside", inWindow(r, at.y) && inWindow(s, at.x) && "in"].filter(Boolean).join(" ") || null,
      style: outside ? null : cellStyle(value, 1), title: outside ? "padding: a zero" : "click: change this value",
      onclick: outside ? () => {} : () => { map[r][s] = value > 0.5 ? 0 : 1; drawPlay(); } }, number(value, value % 1 ? 1 : 0));
  })))), `play-input-${c}`));
  const filter = PLAY.weights.map((map, c) => element("table", { class: "play", "aria-label": `filter, channel ${c}` }, map.map((row, i) => element("tr", {}, row.map((weight, j) =>
    element("td", { style: cellStyle(weight, 2) }, element("input", { inputmode: "decimal", value: weight, "aria-label": `weight row ${i}, column ${j}`,
      onchange: event => { const typed = parseFloat(event.target.value.replace(",", ".").replace("−", "-")); map[i][j] = Number.isFinite(typed) ? Math.max(-99, Math.min(99, typed)) : 0; drawPlay(); } })))))));
  const sums = Array.from({ length: side * side }, (_, i) => playAt(Math.floor(i / side), i % side).sum), largest = largestOf(sums);
  const output = withKeys(element("table", { class: "play", "aria-label": "output; the arrow keys move the window" }, Array.from({ length: side }, (_, y) =>
    element("tr", {}, Array.from({ length: side }, (_, x) => element("td", {
      class: y === at.y && x === at.x ? "in" : null, style: cellStyle(sums[y * side + x], largest),
      onpointerenter: event => { if (event.pointerType !== "touch" && PLAY.at !== y * side + x) { PLAY.at = y * side + x; drawPlay(); } } }, number(sums[y * side + x], 1)))))), "play-output");
  const column = (title, tables) => element("figure", {}, element("figcaption", {}, title), tables);
  find("#play-grids").replaceChildren(column(`input, ${n} × ${n}${p ? `, padded by ${p}` : ""}`, input), sign("∗"), column(`filter, ${k} × ${k}: type your own`, filter), sign("="), column(`output, ${side} × ${side}`, output));
  const { products, sum } = playAt(at.y, at.x), shown = products.filter(one => one.weight && one.value), few = shown.slice(0, 12);
  find("#play-sum").textContent = `row ${at.y}, column ${at.x}: ${few.map(one => `${number(one.value, one.value % 1 ? 2 : 0)} × ${number(one.weight, one.weight % 1 ? 2 : 0)}`).join(" + ") || "all products are zero"}${shown.length > few.length ? " + …" : ""} = ${number(sum)}`;
}

let sliding = null;
function slide() {
  clearInterval(sliding);
  sliding = sliding ? null : setInterval(() => { PLAY.at = (PLAY.at + 1) % Math.max(1, outputSide() ** 2); drawPlay(); }, 450);
  find("#play-slide").textContent = sliding ? "Stop" : "Slide the window";
}

// Max or average pooling of a few numbers.
const POOL = { take: "max", at: 0, values: [1, 3, 2, 1, 4, 2, 0, 1, 5, 1, 8, 2, 2, 0, 3, 4] };
function drawPool() {
  const at = { y: POOL.at >> 1, x: POOL.at & 1 };
  const four = place => [0, 1, 4, 5].map(d => POOL.values[(place >> 1) * 8 + (place & 1) * 2 + d]);
  const take = values => POOL.take === "max" ? Math.max(...values) : total(values) / 4;
  const table = (id, side, values, inside, action) => withKeys(element("table", { class: "play", "aria-label": side === 4 ? "input; the space bar raises a value" : "output" }, Array.from({ length: side }, (_, y) => element("tr", {}, Array.from({ length: side }, (_, x) =>
    element("td", { style: cellStyle(values[y * side + x], 9), class: inside(y, x) ? "in" : null, ...action(y, x) }, number(values[y * side + x], values[y * side + x] % 1 ? 2 : 0)))))), id);
  const moveTo = place => ({ onpointerenter: event => { if (event.pointerType !== "touch" && POOL.at !== place) { POOL.at = place; drawPool(); } } });
  find("#pool-grids").replaceChildren(table("pool-input", 4, POOL.values, (y, x) => y >> 1 === at.y && x >> 1 === at.x, (y, x) => ({
    onclick: () => { POOL.values[y * 4 + x] = (POOL.values[y * 4 + x] + 1) % 10; drawPool(); }, ...moveTo((y >> 1) * 2 + (x >> 1)) })), sign("→"),
    table("pool-output", 2, [0, 1, 2, 3].map(place => take(four(place))), (y, x) => y === at.y && x === at.x, (y, x) => moveTo(y * 2 + x)));
  const values = four(POOL.at);
  find("#pool-sum").textContent = POOL.take === "max" ? `largest of ${values.join(", ")}: ${take(values)}` : `(${values.join(" + ")}) ÷ 4 = ${number(take(values))}`;
}

// An activation function and its slope at a place.
const SLOPES = { relu: x => +(x > 0), tanh: x => 1 - Math.tanh(x) ** 2, sigmoid: x => ACTIVATIONS.sigmoid(x) * (1 - ACTIVATIONS.sigmoid(x)) };
function drawFunction() {
  const name = find("[name=function]:checked").value, x = +find("#function-x").value, apply = ACTIVATIONS[name], slope = SLOPES[name], X = v => 160 + 30 * v;
  const line = (f, style) => element("svg:path", { class: style, d: Array.from({ length: 201 }, (_, i) => -5 + i / 20).map((v, i) => `${i ? "L" : "M"} ${X(v).toFixed(1)} ${(100 - 40 * Math.min(f(v), 2.4)).toFixed(1)}`).join(" ") });
  const y = 100 - 40 * Math.min(apply(x), 2.4);
  find("#function-curve").replaceChildren(element("svg:path", { class: "axis", d: "M 5 100 H 315 M 160 4 V 150" }), line(slope, "slope"), line(apply, "function"),
    element("svg:path", { class: "lead", d: `M ${X(x)} 100 V ${y}` }), element("svg:circle", { cx: X(x), cy: y, r: 5 }),
    element("svg:text", { x: 312, y: 114, "text-anchor": "end" }, "input"));
  const flatHere = slope(x) < 0.05;
  find("#function-sum").replaceChildren(`${find("[name=function]:checked + span").textContent}(${number(x, 1)}) = ${number(apply(x), 3)}, slope ${number(slope(x), 3)}. `,
    element("b", {}, flatHere ? (name === "relu" ? "The slope is zero: nothing is learned from this value." : "Saturated: the curve is nearly flat, so learning nearly stops here.") : ""));
}

function setUpPlayground() {
  for (const key of ["size", "kernel", "stride", "padding", "dilation", "channels"]) {
    find(`#play-${key}`).addEventListener("input", event => {
      PLAY[key] = +event.target.value;
      if (key === "channels") fillPlay(); else if (key === "size") fillPlay("input"); else if (key === "kernel") fillPlay("filter");
      drawPlay();
    });
  }
  find("#play-pattern").append(...Object.keys(PATTERNS).map(name => element("option", { selected: name === PLAY.pattern }, name)));
  find("#play-filter").append(...Object.keys(FILTERS).map(name => element("option", {}, name)));
  find("#play-pattern").addEventListener("change", event => { PLAY.pattern = event.target.value; fillPlay("input"); drawPlay(); });
  find("#play-filter").addEventListener("change", event => { PLAY.filter = event.target.value; fillPlay("filter"); drawPlay(); });
  find("#play-slide").addEventListener("click", slide);
  for (const input of document.querySelectorAll("[name=pool]")) input.addEventListener("change", () => { POOL.take = input.value; drawPool(); });
  for (const input of document.querySelectorAll("[name=function]")) input.addEventListener("change", drawFunction);
  find("#function-x").addEventListener("input", drawFunction);
  // A finger stays with the element that it first touched, which may not be drawn again meanwhile.
  for (const grids of [find("#play-grids"), find("#pool-grids")]) for (const kind of ["pointerdown", "pointermove"]) {
    grids.addEventListener(kind, event => {
      if (event.pointerType !== "touch") return;
      if (event.target.closest("#play-output, #pool-output")) grids.setPointerCapture(event.pointerId);
      document.elementFromPoint(event.clientX, event.clientY)?.dispatchEvent(new PointerEvent("pointerenter"));
    });
  }
  fillPlay();
  drawPlayground();
}

function drawPlayground() { drawPlay(); drawPool(); drawFunction(); }
