"use strict";
// The picture: samples, files, drawing, camera; and what the reader changes about it.

const PICTURE = {
  original: NET.samples[0].pixels,         // as it was chosen
  base: NET.samples[0].pixels,             // with what was drawn on it
  cover: new Uint8Array(NET.size ** 2),    // 1 where it is covered
  shift: [0, 0],                           // rows and columns by which it is moved
  noise: 0,                                // standard deviation, in brightness from 0 to 255
  tool: "cover",
};

// Random numbers that stay the same while the noise grows.
const NOISE = (() => {
  let state = 1;
  const uniform = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 0.5) / 2 ** 32;
  return Float32Array.from({ length: 3 * NET.size ** 2 }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
})();

function changedPixels() {
  const { base, cover, shift: [down, right], noise } = PICTURE, side = NET.size, pixels = new Uint8Array(base.length);
  const grey = NET.mean.map(mean => Math.round(255 * mean));
  for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) for (let c = 0; c < 3; c++) {
    const at = 3 * (y * side + x) + c, row = Math.min(side - 1, Math.max(0, y - down)), column = Math.min(side - 1, Math.max(0, x - right));
    const value = base[3 * (row * side + column) + c] + noise * NOISE[at];
    pixels[at] = cover[y * side + x] ? grey[c] : Math.min(255, Math.max(0, Math.round(value)));
  }
  return pixels;
}

function pictureChanged() {
  NOW.pixels = changedPixels();
  tell("picture");
  refresh();
}

function showPicture(pixels, sample = null) {
  NOW.sample = sample;
  PICTURE.original = pixels;
  if (!camera) tell("new picture");
  restorePicture();
}

function restorePicture() {
  Object.assign(PICTURE, { base: PICTURE.original, cover: new Uint8Array(NET.size ** 2), shift: [0, 0], noise: 0 });
  pictureChanged();
}

const pictureIsChanged = () => PICTURE.noise > 0 || PICTURE.cover.some(Boolean) || PICTURE.shift.some(Boolean)
  || PICTURE.base !== PICTURE.original;

// Resizes any source to the network's square, as training did: the shorter side fits, the middle is cut out.
function fitted(source, width, height) {
  const canvas = document.createElement("canvas"), side = NET.size, pen = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(canvas, { width: side, height: side });
  const scale = side / Math.min(width, height);
  Object.assign(pen, { imageSmoothingEnabled: true, imageSmoothingQuality: "high", fillStyle: "white" });
  pen.fillRect(0, 0, side, side);
  pen.drawImage(source, (side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale);
  return Uint8Array.from({ length: 3 * side * side }, ((data) => (_, i) => data[4 * Math.floor(i / 3) + i % 3])(pen.getImageData(0, 0, side, side).data));
}

async function openFile(file) {
  try {
    const bitmap = await createImageBitmap(file);
    stopCamera();
    showPicture(fitted(bitmap, bitmap.width, bitmap.height));
    say("");
  } catch { say(`${file.name} is not a picture that this browser can read.`); }
}

function say(text) { find("#picture-message").textContent = text; }

let camera = null;  // {stream}, which follows when the reader has allowed it
async function startCamera() {
  const mine = camera = { stream: null };
  find("#camera").textContent = "Stop the camera";
  say("Waiting for the camera …");
  try {
    mine.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    const video = element("video", { muted: true, playsinline: true });
    Object.assign(video, { srcObject: mine.stream, muted: true });
    await video.play();
    if (camera === mine) say("");
    while (camera === mine) {
      showPicture(fitted(video, video.videoWidth, video.videoHeight));
      await computing;
      await new Promise(resume => requestAnimationFrame(resume));
    }
  } catch { if (camera === mine) { stopCamera(); say("The camera is not available here."); } }
  mine.stream?.getTracks().forEach(track => track.stop());
}

function stopCamera() {
  if (!camera) return;
  camera.stream?.getTracks().forEach(track => track.stop());
  camera = null;
  find("#camera").textContent = "Camera";
  say("");
}

// Paints a round stroke with the tool in use: covers, or draws with the chosen colour.
function paint(from, to) {
  const side = NET.size, radius = PICTURE.tool === "cover" ? side / 8 : side / 18;
  const ink = find("#ink").value.match(/\w\w/g).map(pair => parseInt(pair, 16));
  if (PICTURE.tool === "draw") PICTURE.base = Uint8Array.from(PICTURE.base);
  const down = to.y - from.y, right = to.x - from.x, long = down ** 2 + right ** 2 || 1;
  for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) {
    const share = Math.min(1, Math.max(0, ((i - from.y) * down + (j - from.x) * right) / long));  // where the stroke is nearest
    if ((i - from.y - share * down) ** 2 + (j - from.x - share * right) ** 2 > radius ** 2) continue;
    if (PICTURE.tool === "cover") PICTURE.cover[i * side + j] = 1;
    else {
      const row = i - PICTURE.shift[0], column = j - PICTURE.shift[1];
      if (row >= 0 && row < side && column >= 0 && column < side) PICTURE.base.set(ink, 3 * (row * side + column));
    }
  }
  pictureChanged();
}

function move(down, right) {
  PICTURE.shift = [PICTURE.shift[0] + down, PICTURE.shift[1] + right].map(s => Math.min(NET.size, Math.max(-NET.size, s)));
  pictureChanged();
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function setUpPicture() {
  const canvas = find("#picture"), cursor = { y: NET.size >> 1, x: NET.size >> 1 };
  const mark = find("#brush");
  let last = null;
  const use = event => {
    const at = under(event, canvas, NET.size, NET.size);
    if (PICTURE.tool === "move") move(at.y - last.y, at.x - last.x);
    else paint(last, at);
    last = at;
  };
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    last = under(event, canvas, NET.size, NET.size);
    use(event);
  });
  canvas.addEventListener("pointermove", event => { if (event.buttons) use(event); });
  canvas.addEventListener("keydown", event => {
    const arrow = ARROWS[event.key];
    if (arrow && PICTURE.tool === "move") move(...arrow);
    else if (arrow) {
      cursor.y = Math.min(NET.size - 1, Math.max(0, cursor.y + 2 * arrow[0]));
      cursor.x = Math.min(NET.size - 1, Math.max(0, cursor.x + 2 * arrow[1]));
      frame(mark, [cursor.y - 1, cursor.x - 1, cursor.y + 1, cursor.x + 1], NET.size, NET.size);
    } else if (event.key === " ") paint(cursor, cursor);
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => { mark.style.display = "none"; });
  for (const input of document.querySelectorAll("[name=tool]")) {
    input.addEventListener("change", () => { PICTURE.tool = input.value; });
  }
  find("#ink").addEventListener("input", () => { find("[name=tool][value=draw]").checked = true; PICTURE.tool = "draw"; });
  find("#noise").addEventListener("input", event => { PICTURE.noise = +event.target.value; pictureChanged(); });
  find("#empty").addEventListener("click", () => {
    stopCamera();
    find("[name=tool][value=draw]").checked = true;
    PICTURE.tool = "draw";
    showPicture(new Uint8Array(3 * NET.size ** 2));
  });
  find("#file").addEventListener("change", event => { if (event.target.files[0]) openFile(event.target.files[0]); event.target.value = ""; });
  find("#camera").addEventListener("click", () => camera ? stopCamera() : startCamera());
  addEventListener("dragover", event => event.preventDefault());
  addEventListener("drop", event => { event.preventDefault(); if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]); });
  find("#samples").append(...NET.samples.map((sample, i) => {
    const small = element("canvas", { "aria-hidden": "true" });
    drawPixels(small, sample.pixels);
    const truth = sample.label === null ? "" : `: ${NET.classes[sample.label]}`;
    return element("button", { type: "button", "aria-label": `${sample.name}${truth}`, title: `${sample.name}${truth}`,
      onclick: () => { stopCamera(); showPicture(sample.pixels, i); } }, small);
  }));
  listen("picture", drawPicture);
  // A small copy of picture and answer stays in view, as long as the network is the subject.
  const seen = new Set();
  const watcher = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) isIntersecting ? seen.add(target.id) : seen.delete(target.id);
    find("#mini").classList.toggle("shown", !seen.has("bench") && ["flow", "arithmetic", "change"].some(id => seen.has(id)));
  });
  for (const id of ["bench", "flow", "arithmetic", "change"]) watcher.observe(document.getElementById(id));
}

function drawPicture() {
  drawPixels(find("#picture"), NOW.pixels);
  drawPixels(find("#mini canvas"), NOW.pixels);
  find("#noise").value = PICTURE.noise;
  [...find("#samples").children].forEach((button, i) => button.setAttribute("aria-pressed", i === NOW.sample));
}

// The bars of the most probable classes.
function drawAnswer() {
  const shares = [...NOW.outputs[NET.softmax]], order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
  const shown = order.length <= 10 ? shares.map((_, i) => i) : order.slice(0, 10), best = order[0];
  const truth = NOW.sample === null ? null : NET.samples[NOW.sample].label;
  find("#answer").replaceChildren(...shown.map(i => element("li", { class: i === best ? "best" : null },
    element("span", { class: "name" }, NET.classes[i], i === truth ? element("abbr", { title: "the true class", class: "truth" }, " ✓") : null),
    element("span", { class: "bar" }, element("i", { style: `width:${100 * shares[i]}%` })),
    element("span", { class: "share" }, percent(shares[i])))));
  const wrong = truth !== null && truth !== best;
  const verdict = () => ["It says ", element("b", {}, NET.classes[best]), ` (${percent(shares[best])}). `,
    truth === null ? "" : wrong ? element("span", { class: "wrong" }, `Wrong: it is ${NET.classes[truth]}.`) : "Right."];
  for (const place of document.querySelectorAll(".verdict")) place.replaceChildren(...verdict());
  find("#speed").textContent = `computed in ${NOW.milliseconds.toFixed(NOW.milliseconds < 10 ? 1 : 0)} ms on this device`;
}
