"use strict";
// Answers the page: {net} is kept; {id, image, edits} gives all outputs; {id, images, edits} the class of each image.
// A request for many images stops when a newer one has come.

let net = null, newest = 0;

onmessage = async ({ data }) => {
  if (data.net) { net = data.net; return; }
  if (data.image) {
    const began = performance.now(), outputs = compute(net, data.image, data.edits);
    postMessage({ id: data.id, outputs, milliseconds: performance.now() - began }, outputs.map(output => output.buffer));
    return;
  }
  newest = data.id;
  const predicted = [];
  for (const image of data.images) {
    await new Promise(resume => setTimeout(resume));
    if (newest !== data.id) { postMessage({ id: data.id, outdated: true }); return; }
    const logits = compute(net, image, data.edits).at(-1);
    predicted.push(logits.indexOf(Math.max(...logits)));
  }
  postMessage({ id: data.id, predicted });
};
