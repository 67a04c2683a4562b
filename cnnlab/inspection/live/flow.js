"use strict";
// The flow: a column of maps for each stage, in which a row is one channel through all steps of the stage.

const ROWS = 6;  // channels of a stage that are shown at a time

// What an operation does, in words.
const label = o => `${o.words}${o.kernel ? ` ${o.kernel.join(" × ")}` : ""}${o.kind === "convolution" && o.stride[0] > 1 ? `, stride ${o.stride[0]}` : ""}`;
const SHORT = { "convolution": o => `conv ${o.kernel.join("×")}`, "linear": () => "fully connected", "add": () => "+ shortcut",
  "pool": o => `${o.take} pool ${o.kernel.join("×")}`, "flatten": () => "as a list" };

const sides = shape => shape.length === 1 ? `${shape[0]}` : `${shape[0]} × ${shape[1]} × ${shape[2]}`;

// Stages: what follows a convolution or a linear layer belongs to it.
const STAGES = (() => {
  const stages = [];
  NET.shown.forEach((operation, i) => {
    const starts = ["image", "convolution", "linear", "radial basis", "concatenate", "softmax"].includes(operation.kind);
    const channels = stages.at(-1) && NET.shown[stages.at(-1).steps.at(-1)].shape[0];
    const other = operation.shape[0] !== channels && !["take", "pad"].includes(operation.kind);
    if (starts || other) stages.push({ steps: [], page: 0, open: false, all: false, order: [] });
    stages.at(-1).steps.push(i);
  });
  for (const stage of stages) [stage.block, stage.title] = (block => [block[1], block[2]])(NET.shown[stage.steps[0]].title.match(/^(?:(Block \d+), )?(.*)/));
  const openAll = NET.shown.length <= 24;
  for (const stage of stages) stage.open = openAll;
  return stages;
})();
const stageName = stage => [stage.block, stage.title].filter(Boolean).join(", ");
const stageOf = operation => STAGES.find(stage => stage.steps.includes(operation));

// The steps of a stage that are shown: all, or the last.
const shownSteps = stage => stage.open ? stage.steps : [stage.steps.at(-1)];

// The strongest channels first, by the mean size of their values at the end of the stage.
function orderChannels(stage) {
  const last = stage.steps.at(-1), [channels] = NET.shown[last].shape;
  const means = Array.from({ length: channels }, (_, c) => mapOf(last, c).reduce((sum, v) => sum + Math.abs(v), 0));
  const kept = stage.order.length && stage.frozen;  // so that rows do not jump while a picture is changed
  if (!kept) stage.order = means.map((_, c) => c).sort((a, b) => means[b] - means[a] || a - b);
  stage.frozen = true;
}

function drawFlow() {
  const flow = find("#flow-stages"), left = flow.childElementCount && flow.parentElement.scrollLeft;
  flow.replaceChildren(...STAGES.map(drawStage));
  requestAnimationFrame(() => { flow.parentElement.scrollLeft = left; drawShortcuts(); });
}

function drawStage(stage, number) {
  const last = NET.shown[stage.steps.at(-1)], vector = last.shape.length === 1;
  if (stage.place) WATCHER.unobserve(stage.place);
  stage.place = element("div", { class: "stage", "data-stage": number },
    element("div", { class: "head" }, element("b", {}, stage.block || stage.title), stage.block && element("span", {}, stage.title), element("small", {}, sides(last.shape)),
      stage.steps.length > 1 && element("button", { type: "button", class: "quiet", "aria-expanded": stage.open,
        onclick: () => { stage.open = !stage.open; redrawStage(stage); } }, stage.open ? "fewer steps" : `${stage.steps.length} steps`)),
    element("div", { class: "steps" }, shownSteps(stage).map(step => drawStep(stage, step, vector))),
    !vector && NET.shown[stage.steps[0]].kind !== "image" && last.shape[0] > ROWS && pager(stage));
  WATCHER.observe(stage.place);
  return stage.place;
}

function redrawStage(stage) {
  const before = stage.place;
  before.replaceWith(drawStage(stage, before.dataset.stage));
  requestAnimationFrame(() => { drawShortcuts(); fillStage(stage); drawMarks(); });
}

function pager(stage) {
  const [channels] = NET.shown[stage.steps.at(-1)].shape, pages = Math.ceil(channels / ROWS);
  const turn = by => () => { stage.page = (stage.page + by + pages) % pages; redrawStage(stage); };
  return element("div", { class: "pager" },
    !stage.all && element("button", { type: "button", class: "quiet", onclick: turn(-1), "aria-label": "stronger channels" }, "‹"),
    element("button", { type: "button", class: "quiet", onclick: () => { stage.all = !stage.all; redrawStage(stage); } },
      stage.all ? `strongest ${ROWS}` : `all ${channels}`),
    !stage.all && element("button", { type: "button", class: "quiet", onclick: turn(1), "aria-label": "weaker channels" }, "›"));
}

function drawStep(stage, step, vector) {
  const operation = NET.shown[step], head = element("div", { class: "label", title: operation.name }, element("span", {},
    stage.open || stage.steps.length === 1 ? "" : "after ", (SHORT[operation.kind] || label)(operation)));
  let tiles;
  if (operation.kind === "softmax") tiles = [element("ol", { class: "classes" })];
  else if (operation.kind === "image") tiles = [tile(step, null)];
  else if (vector || stage.all) tiles = [tile(step, null)];
  else tiles = Array.from({ length: Math.min(ROWS, operation.shape[0]) }, (_, row) => tile(step, row));
  return element("div", { class: `step ${vector ? "list" : stage.all ? "all" : ""}`, "data-step": step }, head, tiles);
}

// A picture of one channel (the row-th of its stage), or of all.
function tile(step, row) {
  const canvas = element("canvas", { "aria-hidden": "true" });
  const made = element("button", { type: "button", class: "tile", "data-row": row ?? "" }, canvas,
    element("i", { class: "mark" }), row === null ? null : element("span", { class: "channel" }));
  const choose = event => {
    const { channel, y, x } = pointed(step, row, canvas, event);
    if (channel < NET.shown[step].shape[0]) select(step, channel, y, x);
  };
  let dragging = false;
  canvas.addEventListener("pointerdown", event => { dragging = event.pointerType === "mouse"; if (dragging) choose(event); });
  canvas.addEventListener("pointermove", event => { if (dragging && event.buttons) choose(event); else hover(step, row, canvas, event); });
  made.addEventListener("click", event => {
    if (event.detail === 0) {  // by the keyboard
      const [, height = 1, width = 1] = NET.shown[step].shape;
      select(step, row === null ? 0 : stageOf(step).order[stageOf(step).page * ROWS + row] ?? 0, height >> 1, width >> 1);
      find("#output-map")?.focus();
    } else if (!dragging) choose(event);
    dragging = false;
  });
  return made;
}

// The channel and place that the pointer is on.
function pointed(step, row, canvas, event) {
  const operation = NET.shown[step], [channels, height = 1, width = 1] = operation.shape, stage = stageOf(step);
  if (operation.kind === "image") return { channel: 0, ...under(event, canvas, height, width) };
  if (row !== null) return { channel: stage.order[stage.page * ROWS + row], ...under(event, canvas, height, width) };
  const { columns, rows } = mosaic(operation.shape), gap = operation.shape.length > 1 ? 1 : 0;
  const { y, x } = under(event, canvas, rows * (height + gap), columns * (width + gap));
  const place = Math.floor(y / (height + gap)) * columns + Math.floor(x / (width + gap));
  const channel = operation.shape.length === 1 ? place : stage.order[place] ?? channels;
  return { channel, y: Math.min(y % (height + gap), height - 1), x: Math.min(x % (width + gap), width - 1) };
}

function hover(step, row, canvas, event) {
  const { channel, y, x } = pointed(step, row, canvas, event);
  if (event.pointerType === "mouse" && channel < NET.shown[step].shape[0]) canvas.title = `channel ${channel}, row ${y}, column ${x}: ${number(valueAt(step, channel, y, x), 4)}`;
}

// How many maps stand beside and below each other where all are shown.
function mosaic([channels, height]) {
  if (height === undefined) return { columns: Math.ceil(channels / 64), rows: Math.min(64, channels) };
  const columns = Math.ceil(Math.sqrt(channels));
  return { columns, rows: Math.ceil(channels / columns) };
}

// Maps are drawn before their stage comes into view.
const WATCHER = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const stage = STAGES[entry.target.dataset.stage];
    if (entry.target !== stage.place) continue;  // it was drawn again
    stage.visible = entry.isIntersecting;
    if (stage.visible) fillStage(stage);
  }
}, { root: find(".flow"), rootMargin: "0px 600px" });

function fillStage(stage) {
  if (!NOW.outputs || !stage.place) return;
  orderChannels(stage);
  for (const place of stage.place.querySelectorAll("[data-step]")) {
    const step = +place.dataset.step, operation = NET.shown[step], [channels, height = 1, width = 1] = operation.shape;
    if (operation.kind === "softmax") { drawClasses(place.querySelector("ol")); continue; }
    const largest = largestOf(NOW.outputs[step]);
    for (const tile of place.querySelectorAll(".tile")) {
      const canvas = tile.firstChild;
      if (operation.kind === "image") { drawPixels(canvas, NOW.pixels); continue; }
      if (tile.dataset.row === "") { drawMosaic(canvas, step, stage, largest); continue; }
      const channel = operation.shape[0] > 0 ? stage.order[stage.page * ROWS + +tile.dataset.row] : 0;
      tile.hidden = channel === undefined || channel >= channels;
      if (tile.hidden) continue;
      drawMap(canvas, mapOf(step, channel), width, largest);
      tile.dataset.channel = channel;
      tile.lastChild.textContent = channel;
      tile.setAttribute("aria-label", `${label(operation)}, channel ${channel}`);
      tile.classList.toggle("off", (NOW.edits[step]?.off || []).includes(channel));
    }
  }
}

function drawMosaic(canvas, step, stage, largest) {
  const { shape } = NET.shown[step], [channels, height = 1, width = 1] = shape, gap = shape.length > 1 ? 1 : 0;
  const { columns, rows } = mosaic(shape);
  Object.assign(canvas, { width: columns * (width + gap), height: rows * (height + gap) });
  const picture = new ImageData(canvas.width, canvas.height);
  for (let place = 0; place < channels; place++) {
    const channel = gap ? stage.order[place] : place;
    fill(picture, mapOf(step, channel), width, (place % columns) * (width + gap), Math.floor(place / columns) * (height + gap), largest);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function drawClasses(list) {
  const shares = NOW.outputs[NET.softmax], best = shares.indexOf(Math.max(...shares));
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]).slice(0, 10);
  const shown = shares.length <= 10 ? [...shares.keys()] : order;
  list.replaceChildren(...shown.map(i => element("li", {}, element("button", { type: "button", class: i === best ? "best" : null,
    onclick: () => select(NET.softmax, i) }, element("span", {}, NET.classes[i]), element("i", { style: `width:${100 * shares[i]}%` })))));
}

// An arc from where a shortcut begins to the sum in which it ends.
function drawShortcuts() {
  const arcs = find("#shortcuts"), flow = find("#flow-stages"), paths = [];
  const middle = stage => stage.place.offsetLeft + stage.place.offsetWidth / 2;
  NET.shown.forEach(operation => {
    if (operation.kind !== "add") return;
    const end = stageOf(NET.shown.indexOf(operation));
    const starts = operation.inputs.map(input => {
      let from = input;
      while (["take", "pad"].includes(NET.shown[from].kind)) from = NET.shown[from].inputs[0];
      return stageOf(from);
    }).filter(stage => stage !== end);
    for (const start of starts) {
      const [a, b] = [middle(start) + 6, middle(end) - 6];
      paths.push(element("svg:path", { d: `M ${a} 34 C ${a} 4, ${b} 4, ${b} 34`, "marker-end": "url(#arrow)" },
        element("svg:title", {}, `shortcut from ${stageName(start)} to ${stageName(end)}`)));
    }
  });
  arcs.setAttribute("width", flow.scrollWidth);
  arcs.classList.toggle("none", !paths.length);
  arcs.replaceChildren(arcs.querySelector("defs"), ...paths);
}

// Marks the selected value, the window that it comes from, and its receptive field in the picture.
function drawMarks() {
  document.querySelectorAll("#flow-stages .mark").forEach(mark => { mark.style.display = "none"; });
  const { selected } = NOW;
  if (!selected || !NOW.outputs) return;
  const operation = NET.shown[selected.operation];
  const place = (step, channel, rectangle, kind) => {
    const [, height = 1, width = 1] = NET.shown[step].shape;
    if (NET.shown[step].shape.length === 1) return;
    for (const tile of document.querySelectorAll(`[data-step="${step}"] .tile`)) {
      const isImage = NET.shown[step].kind === "image";
      if (!isImage && (tile.dataset.row === "" || (channel !== null && +tile.dataset.channel !== channel))) continue;
      const mark = tile.querySelector(".mark");
      frame(mark, rectangle, height, width);
      mark.className = `mark ${kind}`;
    }
  };
  const one = [selected.y, selected.x, selected.y, selected.x];
  if (operation.kind !== "image") {
    const field = receptiveField(selected);
    if (field) place(0, null, field, "field");
    const groupwise = ["convolution", "linear", "group norm", "flatten"].includes(operation.kind);
    for (const input of operation.inputs) {
      if (input > 0 && operation.shape.length > 1) place(input, groupwise ? null : selected.channel, seenBy(operation, one), "window");
    }
  }
  place(selected.operation, selected.channel, one, "one");
}

// In words, what is selected.
function drawReadout() {
  const { operation: position, channel, y, x } = NOW.selected, operation = NET.shown[position];
  const where = operation.shape.length === 1 ? `value ${channel}` : `channel ${channel}, row ${y}, column ${x}`;
  find("#readout").replaceChildren(`${[operation.title, operation.kernel && operation.kernel.join(" × "), where].filter(Boolean).join(", ")}: `,
    element("b", {}, number(valueAt(position, channel, y, x), 4)), ". ", element("a", { href: "#arithmetic" }, "How is it computed?"));
}

function setUpFlow() {
  find("#every-step").addEventListener("change", event => {
    for (const stage of STAGES) stage.open = event.target.checked;
    drawFlow();
    requestAnimationFrame(() => { STAGES.forEach(stage => stage.visible && fillStage(stage)); drawMarks(); });
  });
  find("#every-step").checked = STAGES.every(stage => stage.open);
  find("#zoom").addEventListener("input", event => {
    find("#flow-stages").style.setProperty("--tile", `${event.target.value}px`);
    drawShortcuts();
  });
  drawFlow();
  listen("computed", () => { STAGES.forEach(stage => stage.visible && fillStage(stage)); if (NOW.selected) { drawMarks(); drawReadout(); } });
  listen("new picture", () => { for (const stage of STAGES) Object.assign(stage, { frozen: false, page: 0 }); });
  listen("selected", () => {
    const { operation, channel } = NOW.selected, stage = stageOf(operation);
    const rank = NET.shown[operation].shape.length > 1 ? stage.order.indexOf(channel) : -1, page = rank < 0 ? stage.page : Math.floor(rank / ROWS);
    if (!shownSteps(stage).includes(operation) || page !== stage.page) {
      Object.assign(stage, { open: stage.open || !shownSteps(stage).includes(operation), page });
      redrawStage(stage);
    }
    drawMarks();
    drawReadout();
  });
  addEventListener("resize", drawShortcuts);
}
