"use strict";
// Changes of the network: channels and activations switched off, the other pooling; and what they cost.

function changeNetwork(operation, change) {
  const edit = { ...NOW.edits[operation], ...change };
  const empty = !edit.skip && !edit.take && !edit.off?.length;
  NOW.edits = { ...NOW.edits, [operation]: edit };
  if (empty) delete NOW.edits[operation];
  tell("edited");
  refresh();
}

function describeEdits() {
  return Object.entries(NOW.edits).flatMap(([position, edit]) => {
    const operation = NET.operations[position], where = `${label(operation)} (${operation.name})`;
    return [edit.skip && `${where} off`, edit.take && `${where} takes the ${edit.take}`,
      edit.off?.length && `${edit.off.length === 1 ? "channel" : "channels"} ${edit.off.join(", ")} of ${where} off`].filter(Boolean);
  });
}

// The buttons for the operation and channel that are selected.
function drawEditChoices() {
  const { operation: position, channel } = NOW.selected, operation = NET.shown[position], edit = NOW.edits[position] || {}, choices = [];
  const choice = (text, pressed, action) => choices.push(element("button", { type: "button", class: "switch", "aria-pressed": pressed, onclick: action }, text));
  if (position <= NET.last && position > 0 && position !== NET.last) {
    const off = edit.off || [], is = off.includes(channel);
    choice(`${operation.shape.length === 1 ? "value" : "channel"} ${channel} off`, is, () => changeNetwork(position, { off: is ? off.filter(one => one !== channel) : [...off, channel] }));
  }
  if (operation.kind === "activation") choice(`${label(operation)} off`, Boolean(edit.skip), () => changeNetwork(position, { skip: !edit.skip }));
  if (["pool", "adaptive pool"].includes(operation.kind)) {
    const other = operation.take === "max" ? "mean" : "max";
    choice(`take the ${other}, not the ${operation.take}`, Boolean(edit.take), () => changeNetwork(position, { take: edit.take ? null : other }));
  }
  find("#edit-choices").replaceChildren(...choices);
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
