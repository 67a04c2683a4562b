"use strict";
// Elements, numbers and colours.

// Makes an element: element("button", {class: "tile", onclick: f}, "text", child). Texts are never read as HTML.
function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-")) made.setAttribute(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

const find = selector => document.querySelector(selector);

function number(value, digits = 2) {
  const text = Math.abs(value) >= 10000 ? value.toPrecision(4) : value.toFixed(digits);
  return (/^-0\.?0*$/.test(text) ? text.slice(1) : text).replace("-", "−");
}

// A whole number with a comma before each three digits; toLocaleString would first load tables for 40 ms.
const grouped = count => String(count).replace(/\B(?=(\d{3})+$)/g, ",");

// A number as a term of a sum, with the sign before it.
function term(value, digits = 2) { return `${value < 0 ? "−" : "+"} ${number(Math.abs(value), digits)}`; }

function percent(share) { return `${(100 * share).toFixed(1)} %`; }

// Colours of the theme as [red, green, blue].
let COLOURS = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const parse = name => style.getPropertyValue(name).trim().match(/\w\w/g).map(pair => parseInt(pair, 16));
  COLOURS = { paper: parse("--card"), positive: parse("--accent"), negative: parse("--warm") };
}

// Strength of a colour for a share of the largest value; small values stay visible.
const strength = share => Math.min(1, Math.abs(share)) ** 0.7;

function colour(share) {
  const end = share < 0 ? COLOURS.negative : COLOURS.positive, t = strength(share);
  return COLOURS.paper.map((from, i) => Math.round(from + (end[i] - from) * t));
}

// Background and text colour of a cell with a number.
function cellStyle(value, largest) {
  const share = largest ? value / largest : 0;
  return `background:rgb(${colour(share)});color:var(${strength(share) > 0.6 ? "--card" : "--ink"})`;
}

function largestOf(values) {
  let largest = 0;
  for (const value of values) if (Math.abs(value) > largest) largest = Math.abs(value);
  return largest;
}

// Draws a map onto a canvas, one pixel a value.
function drawMap(canvas, values, width, largest) {
  const height = values.length / width;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const picture = new ImageData(width, height);
  fill(picture, values, width, 0, 0, largest);
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function fill(picture, values, width, left, top, largest) {
  const { paper, positive, negative } = COLOURS;
  for (let i = 0; i < values.length; i++) {
    const share = largest ? values[i] / largest : 0, end = share < 0 ? negative : positive, t = strength(share);
    const at = 4 * ((top + Math.floor(i / width)) * picture.width + left + i % width);
    for (let c = 0; c < 3; c++) picture.data[at + c] = paper[c] + (end[c] - paper[c]) * t;
    picture.data[at + 3] = 255;
  }
}

function drawPixels(canvas, pixels) {
  const side = Math.sqrt(pixels.length / 3);
  if (canvas.width !== side) Object.assign(canvas, { width: side, height: side });
  const picture = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    picture.data.set([pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2], 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// Which value of a map with these sides lies under the pointer.
function under(event, canvas, height, width) {
  const box = canvas.getBoundingClientRect();
  const at = (value, count) => Math.min(count - 1, Math.max(0, Math.floor(value * count)));
  return { y: at((event.clientY - box.top) / box.height, height), x: at((event.clientX - box.left) / box.width, width) };
}

// Puts a frame around a rectangle [top, left, bottom, right] of a map; parts beyond the border stay visible.
function frame(mark, rectangle, height, width) {
  const [top, left, bottom, right] = rectangle;
  Object.assign(mark.style, {
    display: "block", top: `${100 * top / height}%`, left: `${100 * left / width}%`,
    height: `${100 * (bottom - top + 1) / height}%`, width: `${100 * (right - left + 1) / width}%`,
  });
}
