"use strict";
// Starts the page.

document.title = `Inside ${NET.model}`;
document.querySelectorAll(".model").forEach(place => { place.textContent = NET.model; });
readColours();
setUpPicture();
listen("computed", drawAnswer);
listen("picture", () => document.body.classList.toggle("own", NOW.sample === null));
const computed = refresh();  // the worker begins while the page is built
setUpFlow();
setUpArithmetic();
setUpEdits();
drawNotes();

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  tell("computed");
  drawMarks();
  drawPlayground();
});

// For the console, and for tests: select a value, show a picture, read what is shown.
window.live = {
  net: NET, now: NOW, select, valueAt,
  settled: async () => { while (computing) await computing; },
  show: sample => { showPicture(NET.samples[sample].pixels, sample); return window.live.settled(); },
  result: () => +find("#sum .result").textContent.replace("−", "-"),
};

tell("picture");
window.live.ready = computed.then(async () => {
  // The strongest value in the middle of the first convolution, so that there is something to see at once.
  const first = Math.max(1, NET.operations.findIndex(operation => operation.kind === "convolution"));
  const [, height = 1, width = 1] = NET.shown[first].shape, plane = height * width;
  const middle = (at, side) => side < 4 || (at >= side / 4 && at < side * 3 / 4);
  let best = (height >> 1) * width + (width >> 1);
  NOW.outputs[first].forEach((value, i, all) => { if (middle(Math.floor(i / width) % height, height) && middle(i % width, width) && value > all[best]) best = i; });
  select(first, Math.floor(best / plane), Math.floor(best / width) % height, best % width);
  // What is seen first is painted before the rest is built.
  await painted();
  performance.mark("first picture");
  setUpPlayground();
  countRight();
});

// Waits until a frame has been painted, which a tab in the background never does.
function painted() {
  return Promise.race([new Promise(resume => requestAnimationFrame(() => setTimeout(resume))), new Promise(resume => setTimeout(resume, 1000))]);
}

function drawNotes() {
  const weights = `${NET.model} has ${grouped(NET.parameters)} parameters and ${NET.last} operations, for pictures of ${NET.size} × ${NET.size} pixels and ${NET.classes.length} classes.`;
  find("#notes").textContent = [weights, ...NET.notes, "The weights are stored with 16 bits each."].join(" ");
}
