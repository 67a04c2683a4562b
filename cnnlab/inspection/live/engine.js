"use strict";
// Computes a network. Maps are Float32Array in the order channel, row, column. This file runs in the worker.

const ACTIVATIONS = {
  "relu": x => x > 0 ? x : 0,
  "relu6": x => Math.min(Math.max(x, 0), 6),
  "tanh": Math.tanh,
  "scaled tanh": x => 1.7159 * Math.tanh(x * 2 / 3),
  "sigmoid": x => 1 / (1 + Math.exp(-x)),
  "gelu": x => x * 0.5 * (1 + erf(x * Math.SQRT1_2)),
  "silu": x => x / (1 + Math.exp(-x)),
  "hardswish": x => x * Math.min(Math.max(x + 3, 0), 6) / 6,
  "leaky relu": (x, slope) => x > 0 ? x : slope * x,
  "elu": (x, alpha) => x > 0 ? x : alpha * Math.expm1(x),
};

// The error function, with errors below 1e-11: its Taylor series, and a continued fraction where that converges.
function erf(x) {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; term > 1e-16 * sum; n++) sum += (term *= 2 * a * a / (2 * n + 1));
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * Math.exp(-a * a) * sum;
  }
  let fraction = a;
  for (let n = 40; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / fraction);
}

const size = shape => shape.reduce((product, side) => product * side, 1);

function softmax(logits) {
  const largest = Math.max(...logits), powers = Array.from(logits, x => Math.exp(x - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(power => power / sum);
}

// Weights of filter number `filter` of an operation, in the order of the weight tensor.
function filterWeights(net, operation, filter) {
  const count = weightsPerFilter(net, operation), from = operation.weight.at + filter * count;
  const scale = net.numbers[operation.weight.scale + filter];
  return Float32Array.from(net.weights.subarray(from, from + count), whole => whole * scale);
}

function weightsPerFilter(net, operation) {
  const shape = net.operations[operation.inputs[0]].shape;
  return operation.kind === "linear" ? size(shape) : shape[0] / operation.groups * size(operation.kernel);
}

// Rows (or columns) of the input that position `at` of the output sees along axis 0 (or 1): first, step and number.
function windowAlong(net, operation, axis, at) {
  const input = net.operations[operation.inputs[0]].shape, [, ...output] = operation.shape;
  if (operation.kind === "adaptive pool") {
    const first = Math.floor(at * input[1 + axis] / output[axis]);
    return { first, step: 1, count: Math.ceil((at + 1) * input[1 + axis] / output[axis]) - first };
  }
  if (operation.kernel) {
    const first = at * operation.stride[axis] - operation.padding[axis];
    return { first, step: operation.dilation[axis], count: operation.kernel[axis] };
  }
  if (operation.kind === "take") return { first: at * operation.stride[axis], step: 1, count: 1 };
  if (operation.kind === "pad") return { first: at - operation.before[1 + axis], step: 1, count: 1 };
  return { first: at, step: 1, count: 1 };
}

// Computes all operations for an image. `edits` changes operations by their position: {off: [channels], skip, take}.
// Returns the output of each.
function compute(net, image, edits = {}) {
  const outputs = [];
  net.operations.forEach((operation, position) => {
    const edit = edits[position] || {};
    const inputs = operation.inputs.map(input => outputs[input]);
    let output = image;
    if (edit.skip) output = Float32Array.from(inputs[0]);
    else if (operation.kind !== "image") {
      output = new Float32Array(size(operation.shape));
      COMPUTE[operation.kind](net, edit.take ? { ...operation, take: edit.take } : operation, inputs, output);
    }
    const plane = size(operation.shape.slice(1));
    for (const channel of edit.off || []) output.fill(0, channel * plane, (channel + 1) * plane);
    outputs.push(output);
  });
  return outputs;
}

const COMPUTE = {
  "convolution": convolve,
  "linear"(net, operation, [input], output) {
    const count = input.length, { weights, numbers } = net;
    for (let o = 0; o < output.length; o++) {
      const from = operation.weight.at + o * count;
      let a = 0, b = 0, i = 0;
      for (; i + 1 < count; i += 2) {
        a += weights[from + i] * input[i];
        b += weights[from + i + 1] * input[i + 1];
      }
      if (i < count) a += weights[from + i] * input[i];
      const bias = operation.bias === null ? 0 : numbers[operation.bias + o];
      output[o] = (a + b) * numbers[operation.weight.scale + o] + bias;
    }
  },
  "activation"(net, operation, [input], output) {
    const apply = ACTIVATIONS[operation.function];
    for (let i = 0; i < input.length; i++) output[i] = apply(input[i], operation.alpha);
  },
  "batch norm"(net, operation, [input], output) {
    eachChannel(operation, (channel, from, to) => {
      const { mean, deviation, weight, bias } = normNumbers(net, operation, channel);
      for (let i = from; i < to; i++) output[i] = (input[i] - mean) / deviation * weight + bias;
    });
  },
  "group norm"(net, operation, [input], output) {
    eachChannel(operation, (channel, from, to) => {
      const { mean, deviation, weight, bias } = normNumbers(net, operation, channel, input);
      for (let i = from; i < to; i++) output[i] = (input[i] - mean) / deviation * weight + bias;
    });
  },
  "affine"(net, operation, [input], output) {
    eachChannel(operation, (channel, from, to) => {
      const scale = net.numbers[operation.scale + channel], shift = net.numbers[operation.shift + channel];
      for (let i = from; i < to; i++) output[i] = input[i] * scale + shift;
    });
  },
  "pool": pool,
  "adaptive pool": pool,
  "flatten"(net, operation, [input], output) { output.set(input); },
  "add"(net, operation, [one, other], output) {
    for (let i = 0; i < output.length; i++) output[i] = one[i] + other[i];
  },
  "concatenate"(net, operation, inputs, output) {
    let at = 0;
    for (const input of inputs) output.set(input, at), at += input.length;
  },
  "take": copyMap,
  "pad": copyMap,
  "response norm"(net, operation, [input], output) {
    const [channels, height, width] = operation.shape, plane = height * width;
    for (let c = 0; c < channels; c++) {
      const [first, last] = responseChannels(operation, c);
      for (let i = 0; i < plane; i++) {
        let sum = 0;
        for (let k = first; k <= last; k++) sum += input[k * plane + i] ** 2;
        output[c * plane + i] = input[c * plane + i] / (operation.k + operation.alpha * sum / operation.size) ** operation.beta;
      }
    }
  },
  "radial basis"(net, operation, [input], output) {
    for (let o = 0; o < output.length; o++) {
      let sum = 0;
      for (let i = 0; i < input.length; i++) sum += (input[i] - net.numbers[operation.codes + o * input.length + i]) ** 2;
      output[o] = -sum;
    }
  },
};

function eachChannel(operation, action) {
  const plane = size(operation.shape.slice(1));
  for (let channel = 0; channel < operation.shape[0]; channel++) action(channel, channel * plane, (channel + 1) * plane);
}

// The four numbers of a norm for a channel. Those of a group norm are measured on the image.
function normNumbers(net, operation, channel, input) {
  const number = key => net.numbers[operation[key] + channel];
  const found = { weight: number("weight"), bias: number("bias"), mean: 0, variance: 0 };
  if (operation.kind === "batch norm") Object.assign(found, { mean: number("mean"), variance: number("variance") });
  else {
    const count = input.length / operation.groups, group = Math.floor(channel * operation.groups / operation.shape[0]);
    const values = input.subarray(group * count, (group + 1) * count);
    found.mean = values.reduce((sum, value) => sum + value, 0) / count;
    found.variance = values.reduce((sum, value) => sum + (value - found.mean) ** 2, 0) / count;
  }
  return { ...found, deviation: Math.sqrt(found.variance + operation.eps) };
}

// First and last channel whose squares divide a channel in a local response normalization.
function responseChannels(operation, channel) {
  const first = channel - Math.floor(operation.size / 2);
  return [Math.max(0, first), Math.min(operation.shape[0] - 1, first + operation.size - 1)];
}

function pool(net, operation, [input], output) {
  const [channels, height, width] = operation.shape, [, rows, columns] = net.operations[operation.inputs[0]].shape;
  const mean = operation.take === "mean";
  let at = 0;
  const across = Array.from({ length: width }, (_, x) => windowAlong(net, operation, 1, x));
  for (let c = 0; c < channels; c++) for (let y = 0; y < height; y++) {
    const down = windowAlong(net, operation, 0, y);
    for (let x = 0; x < width; x++) {
      let sum = 0, largest = -Infinity, seen = 0;
      for (let i = 0, row = down.first; i < down.count; i++, row += down.step) {
        if (row < 0 || row >= rows) continue;
        for (let j = 0, column = across[x].first; j < across[x].count; j++, column += across[x].step) {
          if (column < 0 || column >= columns) continue;
          const value = input[(c * rows + row) * columns + column];
          sum += value, seen++;
          if (value > largest) largest = value;
        }
      }
      output[at++] = mean ? sum / poolDivisor(operation, down, across[x], seen, rows, columns) : largest;
    }
  }
}

// By how many values a mean is divided: zeros of the padding count if the operation says so, what lies beyond does not.
function poolDivisor(operation, down, across, seen, rows, columns) {
  if (!operation.counts_padding) return seen;
  const [p, q] = operation.padding;
  return (Math.min(down.first + down.count, rows + p) - down.first) * (Math.min(across.first + across.count, columns + q) - across.first);
}

function copyMap(net, operation, [input], output) {
  const [channels, height, width] = operation.shape, [sources, rows, columns] = net.operations[operation.inputs[0]].shape;
  const skipped = operation.before ? operation.before[0] : 0;
  let at = 0;
  for (let c = 0; c < channels; c++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++, at++) {
    const row = windowAlong(net, operation, 0, y).first, column = windowAlong(net, operation, 1, x).first, source = c - skipped;
    const inside = source >= 0 && source < sources && row >= 0 && row < rows && column >= 0 && column < columns;
    if (inside) output[at] = input[(source * rows + row) * columns + column];
  }
}

// A convolution as a product of matrices: windows become columns, in blocks of four, and filters go in pairs.
const PANEL = 64;  // windows that are unrolled together
function convolve(net, operation, [input], output) {
  const [, rows, columns] = net.operations[operation.inputs[0]].shape, [channels, height, width] = operation.shape;
  const { groups, kernel: [kh, kw], stride: [sy, sx], padding: [py, px], dilation: [dy, dx] } = operation;
  const filters = channels / groups, depth = weightsPerFilter(net, operation), inputs = depth / kh / kw, plane = height * width;
  const panel = new Float64Array(depth * PANEL), pairs = Math.ceil(filters / 2);
  for (let group = 0; group < groups; group++) {
    const weights = pairedWeights(net, operation, group * filters, filters, depth);
    for (let begin = 0; begin < plane; begin += PANEL) {
      const count = Math.min(PANEL, plane - begin);
      for (let p = 0; p < count; p++) {
        const y = Math.floor((begin + p) / width), x = (begin + p) % width;
        let to = (p >> 2) * depth * 4 + (p & 3);
        for (let c = 0; c < inputs; c++) for (let i = 0, row = y * sy - py; i < kh; i++, row += dy) {
          const start = ((group * inputs + c) * rows + row) * columns, known = row >= 0 && row < rows;
          for (let j = 0, column = x * sx - px; j < kw; j++, column += dx, to += 4) {
            panel[to] = known && column >= 0 && column < columns ? input[start + column] : 0;
          }
        }
      }
      for (let pair = 0; pair < pairs; pair++) {
        const filter = group * filters + 2 * pair, single = 2 * pair + 1 === filters;
        multiply(net, operation, filter, single, weights, pair * depth * 2, panel, depth, count, output, begin, plane);
      }
    }
  }
}

// Weights of a group's filters in pairs: weight 0 of both, weight 1 of both, and so on.
function pairedWeights(net, operation, first, filters, depth) {
  const paired = new Float64Array(Math.ceil(filters / 2) * depth * 2);
  for (let f = 0; f < filters; f++) {
    const from = operation.weight.at + (first + f) * depth, to = (f >> 1) * depth * 2 + (f & 1);
    for (let k = 0; k < depth; k++) paired[to + 2 * k] = net.weights[from + k];
  }
  return paired;
}

// A pair of filters times the columns of a panel: eight sums at a time, which fit into registers.
function multiply(net, operation, filter, single, weights, from, panel, depth, count, output, begin, plane) {
  const { scale, bias } = filterNumbers(net, operation, filter);
  const other = filterNumbers(net, operation, single ? filter : filter + 1);
  const out = filter * plane + begin, out2 = out + plane, end = from + 2 * depth;
  for (let p = 0; p < count; p += 4) {
    let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    for (let k = from, at = p * depth; k < end; k += 2, at += 4) {
      const v0 = panel[at], v1 = panel[at + 1], v2 = panel[at + 2], v3 = panel[at + 3], a = weights[k], b = weights[k + 1];
      a0 += a * v0; a1 += a * v1; a2 += a * v2; a3 += a * v3;
      b0 += b * v0; b1 += b * v1; b2 += b * v2; b3 += b * v3;
    }
    const sums = [a0, a1, a2, a3], sums2 = [b0, b1, b2, b3];
    for (let i = 0; i < 4 && p + i < count; i++) {
      output[out + p + i] = sums[i] * scale + bias;
      if (!single) output[out2 + p + i] = sums2[i] * other.scale + other.bias;
    }
  }
}

function filterNumbers(net, operation, filter) {
  const scale = net.numbers[operation.weight.scale + filter];
  return { scale, bias: operation.bias === null ? 0 : net.numbers[operation.bias + filter] };
}
