"use strict";
// The arithmetic of the selected value: where it comes from, and every number of its computation.

const PARTS_SHOWN = 3;  // input channels of a convolution whose numbers are shown without being asked for
let allParts = false;

// A grid of numbers. `cells` holds rows of {value, outside, mark}; outside is padding.
function grid(cells, largest, digits, caption) {
  const wide = cells[0].length > 7;
  return element("figure", { class: "grid" }, element("table", { class: wide ? "small" : null }, cells.map(row => element("tr", {}, row.map(cell =>
    element("td", { style: cell.outside ? null : cellStyle(cell.value, largest), title: number(cell.value, 4),
      class: [cell.outside && "outside", cell.mark && "mark"].filter(Boolean).join(" ") || null }, wide ? "" : number(cell.value, digits)))))),
    caption && element("figcaption", {}, caption));
}

const sign = text => element("span", { class: "sign" }, text);

// The values of one channel of the input that the selected value sees, as rows of cells.
function windowCells(operation, input, channel, y, x) {
  const [, rows = 1, columns = 1] = NET.shown[input].shape;
  const down = windowAlong(NET, operation, 0, y), across = windowAlong(NET, operation, 1, x);
  return Array.from({ length: down.count }, (_, i) => Array.from({ length: across.count }, (_, j) => {
    const row = down.first + i * down.step, column = across.first + j * across.step;
    const outside = row < 0 || row >= rows || column < 0 || column >= columns;
    return { value: outside ? 0 : valueAt(input, channel, row, column), outside };
  }));
}

const shape2d = (values, width) => Array.from({ length: values.length / width }, (_, i) =>
  Array.from(values.subarray ? values.subarray(i * width, (i + 1) * width) : values.slice(i * width, (i + 1) * width), value => ({ value })));
const flat = cells => cells.flat().map(cell => cell.value);
const total = values => values.reduce((sum, value) => sum + value, 0);

// Each returns {result, parts}: the value as computed here from the numbers before it, and elements that show how.
const ARITHMETIC = {
  "image"(operation, { channel, y, x }) {
    const byte = NOW.pixels[3 * (y * NET.size + x) + channel], share = byte / 255, result = (share - NET.mean[channel]) / NET.std[channel];
    const colours = ["red", "green", "blue"];
    return { result, parts: [formula(`${colours[channel]}: ${byte} of 255 = ${number(share, 4)}`),
      formula(`(${number(share, 4)} − ${number(NET.mean[channel], 4)}) ÷ ${number(NET.std[channel], 4)} = `, shownResult(result))] };
  },

  "convolution"(operation, { channel, y, x }) {
    const weights = filterWeights(NET, operation, channel), [kh, kw] = operation.kernel, each = kh * kw;
    const inputs = weights.length / each, first = Math.floor(channel / (operation.shape[0] / operation.groups)) * inputs;
    const parts = Array.from({ length: inputs }, (_, k) => {
      const filter = weights.subarray(k * each, (k + 1) * each);
      const cells = windowCells(operation, operation.inputs[0], first + k, y, x);
      const products = Float64Array.from(flat(cells), (value, i) => value * filter[i]);
      return { k: first + k, filter, cells, products, sum: total(products), connected: filter.some(Boolean) };
    });
    const bias = operation.bias === null ? 0 : NET.numbers[operation.bias + channel];
    const result = total(parts.map(part => part.sum)) + bias;
    const rgb = operation.inputs[0] === 0 ? ["red", "green", "blue"] : null;
    const connected = parts.filter(part => part.connected), strongest = [...connected].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const shown = rgb ? connected : allParts ? connected : strongest.slice(0, PARTS_SHOWN).sort((a, b) => a.k - b.k);
    const values = largestOf(shown.flatMap(part => flat(part.cells))), filters = largestOf(weights);
    const products = largestOf(shown.flatMap(part => [...part.products]));
    const lines = shown.map(part => element("div", { class: "product" },
      element("h4", {}, rgb ? rgb[part.k] : `channel ${part.k}`),
      element("div", { class: "grids" }, grid(part.cells, values, 2, "window"), sign("×"), grid(shape2d(part.filter, kw), filters, 2, "filter"),
        sign("="), grid(shape2d(part.products, kw), products, 2, "products"), sign("→"),
        element("output", { class: "subtotal" }, element("small", {}, "sum"), number(part.sum, 3)))));
    const rest = connected.length - shown.length, hidden = total(connected.filter(part => !shown.includes(part)).map(part => part.sum));
    const more = !rgb && connected.length > PARTS_SHOWN && element("button", { type: "button", class: "quiet", onclick: () => { allParts = !allParts; drawArithmetic(); } },
      allParts ? `only the ${PARTS_SHOWN} largest sums` : `show all ${connected.length} channels`);
    const unseen = parts.length - connected.length;
    return { result, parts: [lines, more, unseen > 0 && element("p", { class: "note" }, `This filter does not see ${unseen} of the ${parts.length} channels.`),
      formula(shown.map((part, i) => i ? ` ${term(part.sum, 3)}` : number(part.sum, 3)), rest > 0 && ` ${term(hidden, 3)} (${rest} other channels)`,
        operation.bias === null ? "" : [` ${term(bias, 3)} `, element("small", {}, "bias")], " = ", shownResult(result))] };
  },

  "linear"(operation, { channel }) {
    const weights = filterWeights(NET, operation, channel), input = NOW.outputs[operation.inputs[0]];
    const products = Array.from(weights, (weight, i) => ({ i, weight, value: input[i], product: weight * input[i] }));
    const bias = operation.bias === null ? 0 : NET.numbers[operation.bias + channel], result = total(products.map(one => one.product)) + bias;
    const shown = [...products].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 10);
    const rest = result - bias - total(shown.map(one => one.product));
    return { result, parts: [contributions(shown.map(one => [origin(operation.inputs[0], one.i),
      `${number(one.value)} × ${number(one.weight, 3)}`, one.product]), "value × weight"),
      formula(`${number(total(shown.map(one => one.product)), 3)} `, element("small", {}, `largest ${shown.length}`),
        products.length > shown.length && [` ${term(rest, 3)} `, element("small", {}, `other ${products.length - shown.length}`)],
        operation.bias === null ? "" : [` ${term(bias, 3)} `, element("small", {}, "bias")], " = ", shownResult(result))] };
  },

  "activation"(operation, { channel, y, x }) {
    const before = valueAt(operation.inputs[0], channel, y, x), apply = value => ACTIVATIONS[operation.function](value, operation.alpha);
    const result = apply(before), span = Math.max(3, 1.2 * Math.abs(before));
    return { result, parts: [curve(apply, span, before), formula(`${label(operation)}(${number(before, 4)}) = `, shownResult(result))] };
  },

  "batch norm"(operation, place) { return norm(operation, place, "over the training images"); },
  "group norm"(operation, place) { return norm(operation, place, "over its group of channels in this picture"); },

  "affine"(operation, { channel, y, x }) {
    const before = valueAt(operation.inputs[0], channel, y, x), scale = NET.numbers[operation.scale + channel], shift = NET.numbers[operation.shift + channel];
    const result = before * scale + shift;
    return { result, parts: [formula(`${number(before, 4)} × ${number(scale, 4)} ${term(shift, 4)} = `, shownResult(result))] };
  },

  "pool": pooled,
  "adaptive pool": pooled,

  "add"(operation, { channel, y, x }) {
    const [one, other] = operation.inputs.map(input => valueAt(input, channel, y, x)), result = one + other;
    const [a, b] = operation.inputs;
    return { result, parts: [element("div", { class: "grids" }, miniature(a, channel, y, x, a > b ? "the block" : "the shortcut"), sign("+"),
      miniature(b, channel, y, x, b > a ? "the block" : "the shortcut")),
      formula(`${number(one, 4)} ${term(other, 4)} = `, shownResult(result))] };
  },

  "flatten"(operation, { channel }) {
    const from = unflattened(operation, channel), result = valueAt(operation.inputs[0], from.channel, from.y, from.x);
    return { result, parts: [formula(`number ${channel} of the list is row ${from.y}, column ${from.x} of channel ${from.channel}: `, shownResult(result))] };
  },

  "take": copied,
  "pad": copied,

  "concatenate"(operation, { channel, y, x }) {
    let rest = channel, input = operation.inputs[0];
    for (input of operation.inputs) {
      if (rest < NET.shown[input].shape[0]) break;
      rest -= NET.shown[input].shape[0];
    }
    const result = valueAt(input, rest, y, x);
    return { result, parts: [formula(`channel ${rest} of ${NET.shown[input].name}: `, shownResult(result))] };
  },

  "response norm"(operation, { channel, y, x }) {
    const [first, last] = responseChannels(operation, channel), [input] = operation.inputs;
    const values = Array.from({ length: last - first + 1 }, (_, i) => valueAt(input, first + i, y, x)), squares = total(values.map(v => v * v));
    const base = operation.k + operation.alpha * squares / operation.size, before = valueAt(input, channel, y, x), result = before / base ** operation.beta;
    return { result, parts: [formula(`squares of channels ${first} to ${last}: ${values.map(v => `${number(v)}²`).join(" + ")} = ${number(squares, 4)}`),
      formula(`${operation.k} + ${operation.alpha} × ${number(squares, 4)} ÷ ${operation.size} = ${number(base, 4)}`),
      formula(`${number(before, 4)} ÷ ${number(base, 4)}^${operation.beta} = `, shownResult(result))] };
  },

  "radial basis"(operation, { channel }) {
    const input = NOW.outputs[operation.inputs[0]];
    const terms = Array.from(input, (value, i) => ({ i, value, code: NET.numbers[operation.codes + channel * input.length + i] }));
    for (const one of terms) one.square = (one.value - one.code) ** 2;
    const result = -total(terms.map(one => one.square)), shown = [...terms].sort((a, b) => b.square - a.square).slice(0, 10);
    const rest = -result - total(shown.map(one => one.square));
    return { result, parts: [contributions(shown.map(one => [`state ${one.i}`, `(${number(one.value)} − ${number(one.code, 0)})²`, one.square]), "squared distance"),
      formula(`−(${number(-result - rest, 3)} ${term(rest, 3)}) = `, shownResult(result))] };
  },

  "softmax"(operation, { channel }) {
    const logits = NOW.outputs[NET.last], powers = Array.from(logits, Math.exp), sum = total(powers), result = softmax(logits)[channel];
    const order = powers.map((_, i) => i).sort((a, b) => powers[b] - powers[a]).slice(0, 10);
    if (!order.includes(channel)) order[order.length - 1] = channel;
    return { result, parts: [contributions(order.map(i => [NET.classes[i], ["e", element("sup", {}, number(logits[i]))], powers[i]]), "power of e"),
      formula(`${number(powers[channel], 3)} ÷ ${number(sum, 3)} = `, shownResult(result), ` = ${percent(result)}`)] };
  },
};

function shownResult(value) { return element("b", { class: "result" }, number(value, 4)); }
function formula(...parts) { return element("p", { class: "formula" }, parts); }

function norm(operation, { channel, y, x }, over) {
  const [input] = operation.inputs, before = valueAt(input, channel, y, x);
  const { mean, variance, deviation, weight, bias } = normNumbers(NET, operation, channel, NOW.outputs[input]);
  const result = (before - mean) / deviation * weight + bias;
  const row = (name, value, about) => element("tr", {}, element("th", {}, name), element("td", {}, number(value, 4)), element("td", {}, about));
  return { result, parts: [element("table", { class: "numbers" },
    row("mean", mean, over), row("variance", variance, `${over}; its root is ${number(deviation, 4)}`),
    row("scale", weight, "learned"), row("offset", bias, "learned")),
    formula(`(${number(before, 4)} − ${number(mean, 4)}) ÷ ${number(deviation, 4)} × ${number(weight, 4)} ${term(bias, 4)} = `, shownResult(result))] };
}

function pooled(operation, { channel, y, x }) {
  const [input] = operation.inputs, cells = windowCells(operation, input, channel, y, x), take = NOW.edits[NOW.selected.operation]?.take || operation.take;
  const inside = cells.flat().filter(cell => !cell.outside), largest = largestOf(flat(cells)), many = cells.length * cells[0].length > 49;
  let result, line;
  if (take === "max") {
    const winner = inside.reduce((best, cell) => cell.value > best.value ? cell : best);
    winner.mark = true;
    result = winner.value;
    line = formula(`the largest of ${inside.length} values: `, shownResult(result));
  } else {
    const [, rows, columns] = NET.shown[input].shape, sum = total(inside.map(cell => cell.value));
    const count = poolDivisor(operation, windowAlong(NET, operation, 0, y), windowAlong(NET, operation, 1, x), inside.length, rows, columns);
    result = sum / count;
    line = formula(`sum ${number(sum, 4)} ÷ ${count} values = `, shownResult(result));
  }
  return { result, parts: [element("div", { class: "grids" }, grid(cells, largest, 2, many ? `${inside.length} values` : "window")), line] };
}

function copied(operation, { channel, y, x }) {
  const [input] = operation.inputs, skipped = operation.before ? operation.before[0] : 0;
  const row = windowAlong(NET, operation, 0, y).first, column = windowAlong(NET, operation, 1, x).first, source = channel - skipped;
  const [channels, height, width] = NET.shown[input].shape;
  const inside = source >= 0 && source < channels && row >= 0 && row < height && column >= 0 && column < width;
  const result = inside ? valueAt(input, source, row, column) : 0;
  return { result, parts: [formula(inside ? `copied from channel ${source}, row ${row}, column ${column}: ` : "a zero, added so that both shapes agree: ", shownResult(result))] };
}

// Rows of [name, how, value] with bars to the left for negative and to the right for positive values.
function contributions(rows, caption) {
  const largest = largestOf(rows.map(row => row[2])) || 1, negative = rows.some(row => row[2] < 0);
  return element("table", { class: "contributions" }, element("caption", {}, caption), rows.map(([name, how, value]) => element("tr", {},
    element("th", {}, name), element("td", {}, how),
    element("td", { class: `bars ${negative ? "both" : ""}` }, element("i", { class: value < 0 ? "negative" : null, style: `width:${(negative ? 50 : 100) * Math.abs(value) / largest}%` })),
    element("td", {}, number(value, 3)))));
}

// What value number `index` of a list is.
function origin(input, index) {
  let from = input;
  while (NET.shown[from].shape.length === 1 && ["activation", "affine"].includes(NET.shown[from].kind)) [from] = NET.shown[from].inputs;
  if (NET.shown[from].kind !== "flatten") return `value ${index}`;
  const [, height] = NET.shown[NET.shown[from].inputs[0]].shape, { channel, y, x } = unflattened(NET.shown[from], index);
  return height === 1 ? `channel ${channel}` : `channel ${channel} (${y}, ${x})`;
}

function miniature(operation, channel, y, x, caption) {
  const canvas = element("canvas"), mark = element("i", { class: "mark one" }), [, height = 1, width = 1] = NET.shown[operation].shape;
  drawMap(canvas, mapOf(operation, channel), width, largestOf(NOW.outputs[operation]));
  frame(mark, [y, x, y, x], height, width);
  return element("figure", { class: "miniature" }, element("div", { class: "map" }, canvas, mark),
    element("figcaption", {}, `${caption}: ${number(valueAt(operation, channel, y, x), 3)}`));
}

function curve(apply, span, before) {
  const points = Array.from({ length: 121 }, (_, i) => -span + 2 * span * i / 120), values = points.map(apply);
  const top = Math.max(1, ...values), bottom = Math.min(-1, ...values);
  const X = x => 10 + 300 * (x + span) / (2 * span), Y = y => 10 + 150 * (top - y) / (top - bottom), after = apply(before);
  return element("svg:svg", { class: "curve", viewBox: "0 0 320 172", role: "img", "aria-label": `the curve: ${number(before)} becomes ${number(after)}` },
    element("svg:path", { class: "axis", d: `M 10 ${Y(0)} H 310 M ${X(0)} 10 V 160` }),
    element("svg:path", { class: "function", d: points.map((x, i) => `${i ? "L" : "M"} ${X(x).toFixed(1)} ${Y(values[i]).toFixed(1)}`).join(" ") }),
    element("svg:path", { class: "lead", d: `M ${X(before)} ${Y(0)} V ${Y(after)} H ${X(0)}` }),
    element("svg:circle", { cx: X(before), cy: Y(after), r: 5 }),
    element("svg:text", { x: X(before), y: Y(0) + (after < 0 ? -6 : 14), "text-anchor": "middle" }, number(before)),
    Math.abs(after) > 0.02 * top && element("svg:text", { x: X(0) + (before > 0 ? -6 : 6), y: Y(after) + 4, "text-anchor": before > 0 ? "end" : "start" }, number(after)));
}

function drawArithmetic() {
  const { selected } = NOW;
  if (!selected || !NOW.outputs) return;
  const operation = NET.shown[selected.operation], [channels, height = 1, width = 1] = operation.shape;
  const edit = NOW.edits[selected.operation] || {}, is = valueAt(selected.operation, selected.channel, selected.y, selected.x);
  const name = operation.kind === "softmax" || selected.operation === NET.last ? NET.classes[selected.channel] : null;
  find("#operation").value = selected.operation;
  find("#channel-name").textContent = name ?? (operation.kind === "image" ? ["red", "green", "blue"][selected.channel] : `${operation.shape.length === 1 ? "value" : "channel"} ${selected.channel} of ${channels}`);
  find("#place").textContent = operation.shape.length === 1 ? "" : `row ${selected.y}, column ${selected.x}`;
  find("#value").textContent = number(is, 4);
  const maps = find("#maps"), focused = document.activeElement?.id === "output-map";
  maps.replaceChildren(...pictures(operation, selected, height, width));
  if (focused) find("#output-map").focus({ preventScroll: true });
  const { parts } = ARITHMETIC[operation.kind](operation, selected);
  const changed = edit.skip ? `You have switched this ${label(operation)} off: the value passes unchanged.` : (edit.off || []).includes(selected.channel) ? "You have switched this channel off: its values are zero." : null;
  find("#sum").replaceChildren(...[changed && element("p", { class: "wrong" }, changed), ...parts.flat(Infinity)].filter(Boolean));
  explain(operation, selected);
}

// The picture with the receptive field, the input with the window, and the output, on which one can point.
function pictures(operation, selected, height, width) {
  const found = [], at = [selected.y, selected.x, selected.y, selected.x];
  const figure = (canvas, caption, rectangle, kind, rows, columns, options = {}) => {
    const mark = element("i", { class: `mark ${kind}` });
    if (rectangle) frame(mark, rectangle, rows, columns);
    return element("figure", { class: "bigmap" }, element("div", { class: "map", ...options }, canvas, mark), element("figcaption", {}, caption));
  };
  if (operation.kind !== "image") {
    const canvas = element("canvas"), field = receptiveField(selected);
    drawPixels(canvas, NOW.pixels);
    const [tall, wide] = field ? [field[2] - field[0] + 1, field[3] - field[1] + 1] : [NET.size, NET.size];
    const whole = tall >= NET.size && wide >= NET.size;
    found.push(figure(canvas, whole ? "It can see the whole picture." : `It sees ${tall} × ${wide} pixels.`, field, "field", NET.size, NET.size));
  }
  const [input] = operation.inputs;
  if (input > 0 && NET.shown[input].shape.length > 1 && operation.kind !== "add") {
    const channel = operation.kind === "flatten" ? unflattened(operation, selected.channel).channel : inputChannel(operation, selected.channel);
    const [, rows, columns] = NET.shown[input].shape, canvas = element("canvas");
    drawMap(canvas, mapOf(input, channel), columns, largestOf(NOW.outputs[input]));
    const from = operation.kind === "flatten" ? (({ y, x }) => [y, x, y, x])(unflattened(operation, selected.channel)) : seenBy(operation, at);
    found.push(figure(canvas, `from ${label(NET.shown[input])}, channel ${channel}`, from, "window", rows, columns));
  }
  if (operation.shape.length > 1) {
    const canvas = element("canvas");
    if (operation.kind === "image") drawPixels(canvas, NOW.pixels);
    else drawMap(canvas, mapOf(selected.operation, selected.channel), width, largestOf(NOW.outputs[selected.operation]));
    const made = figure(canvas, "Point here, or use the arrow keys.", at, "one", height, width,
      { id: "output-map", tabindex: 0, role: "application", "aria-label": "the map; the arrow keys choose a value, page up and page down a channel" });
    const choose = event => {
      const { y, x } = under(event, canvas, height, width);
      if (y !== NOW.selected.y || x !== NOW.selected.x) select(selected.operation, selected.channel, y, x);
    };
    made.firstChild.addEventListener("pointermove", choose);
    made.firstChild.addEventListener("pointerdown", choose);
    found.push(made);
  }
  return found;
}

// The input channel with the largest sum for a filter, or the same channel for all else.
function inputChannel(operation, channel) {
  if (operation.kind !== "convolution") return Math.min(channel, NET.shown[operation.inputs[0]].shape[0] - 1);
  const { y, x } = NOW.selected, weights = filterWeights(NET, operation, channel), each = size(operation.kernel), inputs = weights.length / each;
  const first = Math.floor(channel / (operation.shape[0] / operation.groups)) * inputs;
  let best = first, largest = -1;
  for (let k = 0; k < inputs; k++) {
    const sum = Math.abs(total(flat(windowCells(operation, operation.inputs[0], first + k, y, x)).map((value, i) => value * weights[k * each + i])));
    if (sum > largest) [best, largest] = [first + k, sum];
  }
  return best;
}

function setUpArithmetic() {
  find("#operation").append(...STAGES.map(stage => element("optgroup", { label: stageName(stage) },
    stage.steps.map(step => element("option", { value: step }, [...new Set([label(NET.shown[step]), NET.shown[step].name])].join(" · "))))));
  find("#operation").addEventListener("change", event => {
    const [, height = 1, width = 1] = NET.shown[+event.target.value].shape;
    const strongest = [...NOW.outputs[+event.target.value]].reduce((best, v, i, all) => Math.abs(v) > Math.abs(all[best]) ? i : best, 0);
    select(+event.target.value, Math.floor(strongest / height / width), Math.floor(strongest / width) % height, strongest % width);
  });
  const step = by => () => {
    const { operation, channel, y, x } = NOW.selected, [channels] = NET.shown[operation].shape;
    select(operation, (channel + by + channels) % channels, y, x);
  };
  find("#channel-before").addEventListener("click", step(-1));
  find("#channel-after").addEventListener("click", step(1));
  find("#maps").addEventListener("keydown", event => {
    const { operation, channel, y, x } = NOW.selected, arrow = ARROWS[event.key];
    if (arrow) select(operation, channel, y + arrow[0], x + arrow[1]);
    else if (event.key === "PageUp") step(-1)();
    else if (event.key === "PageDown") step(1)();
    else return;
    event.preventDefault();
  });
  listen("selected", () => { drawArithmetic(); drawEditChoices(); });
  listen("computed", drawArithmetic);
}
