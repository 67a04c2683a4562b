"use strict";
// Changes of the network: channels and activations switched off, the other pooling; and what they cost.

function changeNetwork(operation, change) {
  NOW.edits = edited(operation, change);
  tell("edited");
  refresh();
}

function edited(operation, change) {
  const edit = { ...NOW.edits[operation], ...change }, edits = { ...NOW.edits, [operation]: edit };
  if (!edit.skip && !edit.take && !edit.off?.length) delete edits[operation];
  return edits;
}

function describeEdits() {
  const whole = wholeGroups().filter(([, group]) => group.every(one => one.pressed));
  const known = new Set(whole.flatMap(([, group]) => group.map(one => one.i)));
  return [...whole.map(([text, group]) => `all ${group.length}: ${text}`), ...Object.entries(NOW.edits).flatMap(([position, edit]) => {
    const operation = NET.operations[position], where = `${operation.title} (${operation.name})`, one = !known.has(+position);
    return [one && edit.skip && `${where} off`, one && edit.take && `${where} takes the ${edit.take}`,
      edit.off?.length && `${edit.off.length === 1 ? "channel" : "channels"} ${edit.off.join(", ")} of ${where} off`].filter(Boolean);
  })];
}

// What can be changed about an operation: [text, whether it is changed, the edit that changes it].
function operationChoices(operation) {
  const edit = NOW.edits[NET.shown.indexOf(operation)] || {}, other = operation.take === "max" ? "mean" : "max";
  if (operation.kind === "activation") return [[`${label(operation)} off`, Boolean(edit.skip), { skip: !edit.skip }]];
  if (["pool", "adaptive pool"].includes(operation.kind)) return [[`take the ${other}, not the ${operation.take}`, Boolean(edit.take), { take: edit.take ? null : other }]];
  return [];
}

// The changes that several operations allow: [text, [{i, pressed, edit}]].
function wholeGroups() {
  const groups = new Map();
  NET.operations.forEach((one, i) => operationChoices(one).forEach(([text, pressed, edit]) => groups.set(text, [...groups.get(text) || [], { i, pressed, edit }])));
  return [...groups].filter(([, group]) => group.length > 1);
}

// Buttons for the selected operation and channel, and for all operations of a kind at once.
function drawEditChoices() {
  const { operation: position, channel } = NOW.selected, operation = NET.shown[position];
  const choice = (text, pressed, action) => element("button", { type: "button", class: "switch", "aria-pressed": pressed, onclick: action }, text);
  const choices = operationChoices(operation).map(([text, pressed, edit]) => choice(text, pressed, () => changeNetwork(position, edit)));
  if (position > 0 && position < NET.last) {
    const off = NOW.edits[position]?.off || [], is = off.includes(channel);
    choices.unshift(choice(`${operation.shape.length === 1 ? "value" : "channel"} ${channel} off`, is,
      () => changeNetwork(position, { off: is ? off.filter(one => one !== channel) : [...off, channel] })));
  }
  find("#edit-choices").replaceChildren(...(choices.length ? [element("span", { class: "note" }, "here:"), ...choices] : []));
  const all = wholeGroups().map(([text, group]) => {
    const pressed = group.every(one => one.pressed);
    return choice(`all ${group.length}: ${text}`, pressed, () => {
      for (const one of group) if (one.pressed === pressed) NOW.edits = edited(one.i, one.edit);
      tell("edited");
      refresh();
    });
  });
  find("#all-choices").replaceChildren(...(all.length ? [element("span", { class: "note" }, "everywhere:"), ...all] : []));
}

// How many samples are right, before and after the changes.
const KNOWN = NET.samples.filter(sample => sample.label !== null);
let rightBefore = null;

async function countRight() {
  const line = find("#accuracy");
  if (!KNOWN.length) { line.textContent = ""; return; }
  line.textContent = "counting …";
  const answer = await WORKER({ images: KNOWN.map(sample => normalized(sample.pixels)), edits: NOW.edits });
  if (answer.outdated) return;
  const right = answer.predicted.filter((predicted, i) => predicted === KNOWN[i].label).length;
  if (!Object.keys(NOW.edits).length) {
    rightBefore = right;
    const wrong = KNOWN.length - right, hunt = find("#hunt");
    hunt.hidden = !wrong;
    hunt.textContent = `${wrong === 1 ? "One of the small pictures is" : `${wrong} of the small pictures are`} answered wrongly (the orange frame). Can you see why?`;
  }
  line.textContent = `${right} of the ${KNOWN.length} sample pictures are right${rightBefore === null || rightBefore === right ? "" : `; ${rightBefore} before your changes`}.`;
  [...find("#samples").children].forEach((button, i) => {
    const known = KNOWN.indexOf(NET.samples[i]);
    button.classList.toggle("missed", known >= 0 && answer.predicted[known] !== KNOWN[known].label);
  });
}

function drawEdits() {
  const changes = [...(pictureIsChanged() ? ["the picture is changed"] : []), ...describeEdits()];
  find("#changes").textContent = changes.length ? `Changed: ${changes.join("; ")}.` : "Nothing is changed.";
  document.querySelectorAll(".restore").forEach(button => { button.disabled = !changes.length; });
}

function restoreAll() {
  stopCamera();
  NOW.edits = {};
  restorePicture();
  tell("edited");
}

function setUpEdits() {
  document.querySelectorAll(".restore").forEach(button => button.addEventListener("click", restoreAll));
  listen("edited", () => { drawEdits(); drawEditChoices(); countRight(); });
  listen("picture", drawEdits);
}
