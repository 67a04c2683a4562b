"use strict";
// The network on the page: what the file holds, the worker that computes, and what is selected.

const NET = (() => {
  const text = id => document.getElementById(id).textContent;
  const net = JSON.parse(text("description"));
  net.weights = new Int16Array(bytes(text("weights")).buffer);
  net.numbers = new Float32Array(bytes(text("numbers")).buffer);
  const pixels = bytes(text("pixels")), each = net.size * net.size * 3;
  net.samples.forEach((sample, i) => { sample.pixels = pixels.slice(i * each, (i + 1) * each); });
  net.last = net.operations.length - 1;
  // The page shows the softmax as one more operation.
  net.softmax = net.last + 1;
  net.shown = [...net.operations, { kind: "softmax", name: "softmax", words: "softmax", title: "Probabilities", inputs: [net.last], shape: net.operations[net.last].shape }];
  return net;
})();

function bytes(base64) {
  const packed = base64.trim();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(packed);
  const text = atob(packed), found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}

// What the reader sees now. Whoever changes it tells the others with `tell`.
const NOW = {
  pixels: NET.samples[0].pixels,   // RGB, one byte each
  sample: 0,                       // number of the sample; null for a picture of one's own
  edits: {},                       // of the network, by operation
  outputs: null,                   // of each operation that is shown
  milliseconds: 0,                 // that the last picture took
  selected: null,                  // {operation, channel, y, x}
};

const LISTENERS = {};
function listen(event, action) { (LISTENERS[event] ||= []).push(action); }
function tell(event) { (LISTENERS[event] || []).forEach(action => action()); }

const WORKER = (() => {
  const source = ["engine.js", "worker.js"].map(id => document.getElementById(id).textContent).join("\n");
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data }) => { waiting.get(data.id)(data); waiting.delete(data.id); };
  worker.postMessage({ net: { operations: NET.operations, weights: NET.weights, numbers: NET.numbers } });
  return request => new Promise(answer => {
    waiting.set(++count, answer);
    worker.postMessage({ id: count, ...request });
  });
})();

// Brings pixels to the mean and deviation of the training, as channel, row, column.
function normalized(pixels) {
  const plane = NET.size * NET.size, image = new Float32Array(3 * plane);
  for (let c = 0; c < 3; c++) for (let i = 0; i < plane; i++) {
    image[c * plane + i] = (pixels[3 * i + c] / 255 - NET.mean[c]) / NET.std[c];
  }
  return image;
}

// Computes the picture of now; while the worker is busy, only the latest picture waits.
let computing = null, outdated = false;
function refresh() {
  outdated = true;
  return computing ||= (async () => {
    while (outdated) {
      outdated = false;
      const answer = await WORKER({ image: normalized(NOW.pixels), edits: NOW.edits });
      NOW.outputs = [...answer.outputs, Float32Array.from(softmax(answer.outputs[NET.last]))];
      NOW.milliseconds = answer.milliseconds;
      tell("computed");
    }
    computing = null;
  })();
}

function select(operation, channel, y = 0, x = 0) {
  const [channels, height = 1, width = 1] = NET.shown[operation].shape;
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  NOW.selected = { operation, channel: within(channel, channels), y: within(y, height), x: within(x, width) };
  tell("selected");
}

function valueAt(operation, channel, y = 0, x = 0) {
  const [, height = 1, width = 1] = NET.shown[operation].shape;
  return NOW.outputs[operation][(channel * height + y) * width + x];
}

function mapOf(operation, channel) {
  const plane = size(NET.shown[operation].shape.slice(1));
  return NOW.outputs[operation].subarray(channel * plane, (channel + 1) * plane);
}

// Rectangle of an operation's input that a rectangle of its output sees; null for all of it. Rectangles hold the first
// and the last row and column: [top, left, bottom, right].
function seenBy(operation, rectangle) {
  const input = NET.shown[operation.inputs[0]].shape;
  if (operation.shape.length === 1 || operation.kind === "group norm") {
    return [0, 0, (input[1] || 1) - 1, (input[2] || 1) - 1];
  }
  return [0, 1, 0, 1].map((axis, i) => {
    const { first, step, count } = windowAlong(NET, operation, axis, rectangle[i]);
    return i < 2 ? first : first + step * (count - 1);
  });
}

// The part of the image on which the selected value depends, before it is cut at the border.
function receptiveField({ operation, y, x }) {
  const fields = { [operation]: [y, x, y, x] };
  for (let i = operation; i > 0; i--) {
    if (!fields[i]) continue;
    const one = NET.shown[i];
    let field = seenBy(one, fields[i]);
    if (one.kind === "flatten" && i === operation) {
      const { y, x } = unflattened(one, NOW.selected.channel);
      field = [y, x, y, x];
    }
    for (const input of one.inputs) {
      const other = fields[input] || field;
      fields[input] = field.map((side, k) => k < 2 ? Math.min(side, other[k]) : Math.max(side, other[k]));
    }
  }
  return fields[0];
}

// Where the value of a flattened list stood in the maps before.
function unflattened(operation, index) {
  const [, height = 1, width = 1] = NET.shown[operation.inputs[0]].shape;
  return { channel: Math.floor(index / height / width), y: Math.floor(index / width) % height, x: index % width };
}
