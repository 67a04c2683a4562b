"use strict";
// The text beside the arithmetic: what the selected operation does, in words, with the numbers of this network.

const EXPLAIN = {
  "image": () => ["The picture is numbers", [
    "To a computer, a picture is a table of numbers. Each pixel has three: how much red, green and blue it shines, from 0 to 255.",
    "Before the network sees them, each is brought to a common scale: minus the mean of the training pictures, divided by their spread. Zero now means average brightness."]],
  "convolution": (o, input, network) => ["Convolution: one filter, many places", [
    `A filter is a small table of weights, here ${o.kernel.join(" × ")}${network.inputs > 1 ? ` for each of ${network.inputs} channels` : ""}. It is laid on the input, each weight is multiplied by the value beneath it, and the products are added. One number, the bias, is added at the end.`,
    "The sum is large where the input looks like the filter: same signs in the same places. Then the filter moves on. It uses the same weights everywhere, so it finds its pattern wherever it is.",
    o.stride[0] > 1 ? `It moves ${o.stride[0]} pixels at a time (stride ${o.stride[0]}), so the map is about ${o.stride[0]} times smaller.` : null,
    o.padding[0] ? `Around the border, ${o.padding[0] === 1 ? "one row of zeros is" : `${o.padding[0]} rows of zeros are`} added (padding), so that the filter can be centred on the outermost pixels. Hatched cells are such zeros.` : null,
    sizeFormula(o, input)]],
  "linear": (o, input) => [o === NET.operations[NET.last] ? "The last layer: evidence for each class" : "Fully connected: everything with everything", [
    `Each of the ${o.shape[0]} outputs looks at all ${size(input.shape)} values at once. It has one weight for each, multiplies, and adds. That is ${grouped(o.shape[0] * size(input.shape))} weights.`,
    o === NET.operations[NET.last] ? "Here, each output is a class. A bar to the right speaks for the class, a bar to the left against it. Step through the classes with the arrows to see what decides between them."
      : "Where a value came from no longer matters, only which value it is: the layer weighs the patterns that the convolutions found."]],
  "activation": o => ["Activation: the bend", [
    { relu: "ReLU keeps positive numbers and replaces negative ones by zero. “The pattern is here” passes, “the opposite is here” is forgotten.",
      tanh: "Tanh squeezes every number between −1 and 1. Far from zero it is nearly flat: there the unit is saturated, and hardly learns.",
      "scaled tanh": "This stretched tanh keeps 1 at 1 and −1 at −1, so that values of usual size stay away from its flat ends (LeCun and others 1998).",
      sigmoid: "The sigmoid squeezes every number between 0 and 1. Far from zero it is nearly flat: there the unit is saturated, and hardly learns.",
    }[o.function] || "It lets positive numbers pass nearly unchanged, and weakens negative ones smoothly.",
    "Without a bend between them, any number of layers would be no more than one single layer: sums of sums are sums. The bend lets each layer build on the last."]],
  "batch norm": () => ["Batch norm: a common scale", [
    "During training, the mean and the variance of each channel were measured. Here they bring the channel to mean 0 and spread 1, and two learned numbers stretch and move it again.",
    "So every layer gets inputs of a similar size, whatever the layers before it have learned. Training is faster and less delicate (Ioffe and Szegedy 2015)."]],
  "group norm": o => ["Group norm: a common scale", [
    `The mean and the variance are measured on this very picture, over ${o.shape[0] / o.groups} channels together. Then two learned numbers per channel stretch and move it (Wu and He 2018).`]],
  "affine": () => ["A scale and an offset", ["Each value is multiplied by one number and another one is added: the same for the whole channel."]],
  "pool": (o, input) => [o.take === "max" ? "Max pooling: keep the strongest" : "Average pooling: keep the mean", [
    o.take === "max" ? `Of every ${o.kernel.join(" × ")} values only the largest stays. Whether the pattern was here matters more than where exactly, and the map shrinks.`
      : `Every ${o.kernel.join(" × ")} values become their mean. The map shrinks and becomes calmer.`,
    "It has nothing to learn. Small movements of the picture change little after it: try the Move tool above.", sizeFormula(o, input)]],
  "adaptive pool": o => ["From a map to one number", [
    o.take === "mean" ? "The mean over the whole map says how much of the pattern is in the picture, wherever it is." : "The largest value of the map says whether the pattern is anywhere in the picture.",
    "This makes the network independent of the size of the maps, and saves the many weights of a layer that looks at all places."]],
  "add": () => ["The shortcut: add what was there before", [
    "The block computes only a correction, and its input is added to it unchanged. If the block has nothing to say, its output can stay near zero and nothing is lost.",
    "Through such shortcuts, gradients reach the first layers of very deep networks. With them, deeper became better (He and others 2015)."]],
  "take": () => ["A shortcut that must shrink", ["The block has halved the map, so the shortcut keeps only every second row and column. It has no weights (option A of He and others 2015)."]],
  "pad": () => ["Zeros for new channels", ["The block has more channels than its input. The shortcut gets zeros for the new ones, so that both can be added."]],
  "flatten": () => ["Maps become a list", ["The values are written one after the other: channel by channel, row by row. Nothing is computed."]],
  "concatenate": () => ["Channels side by side", ["The channels of several branches are put together, one after the other. Nothing is computed."]],
  "response norm": () => ["Response norm: neighbours compete", ["A value is divided by the strength of its neighbouring channels at the same place, so that only the strongest stand out (Krizhevsky and others 2012)."]],
  "radial basis": () => ["Distance from a code", ["Every class has a fixed code of −1 and 1. The output is the squared distance of this list from the code, with a minus: the nearest class wins (LeCun and others 1998)."]],
  "softmax": () => ["Softmax: from scores to probabilities", [
    "Each score becomes a power of e ≈ 2.718, which is always positive. Divided by their sum, they add up to 1.",
    "A lead of 1 in the score means 2.7 times the probability, a lead of 3 already 20 times. So the bars often look surer than the network should be."]],
};

function sizeFormula(o, input) {
  if (!o.kernel) return null;
  const rows = input.shape[1], spread = o.dilation[0] * (o.kernel[0] - 1) + 1;
  return element("span", { class: "size" }, `Height: ⌊(${rows}${o.padding[0] ? ` + 2 × ${o.padding[0]}` : ""} − ${spread}) ÷ ${o.stride[0]}⌋ + 1 = ${o.shape[1]}`);
}

function explain(operation) {
  const input = NET.shown[operation.inputs[0]] || null;
  const inputs = operation.kind === "convolution" ? input.shape[0] / operation.groups : 0;
  const [title, paragraphs] = EXPLAIN[operation.kind](operation, input, { inputs });
  find("#explain").replaceChildren(element("h3", {}, title), ...paragraphs.filter(Boolean).map(text => element("p", {}, text)));
}
