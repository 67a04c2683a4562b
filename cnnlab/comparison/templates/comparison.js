// Tables, downloads and explanations, and what happens when a reader filters or chooses.

const data = JSON.parse(document.getElementById("data").textContent);
const downloads = JSON.parse(document.getElementById("downloads").textContent);

// --- light and dark ---

const wanted = new URLSearchParams(location.search).get("theme");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const setTheme = (theme) => { document.documentElement.dataset.theme = theme; };
setTheme(wanted || (dark.matches ? "dark" : "light"));

// --- explanations, by pointer, keyboard or touch ---

const tip = document.getElementById("tip");

function showTip(target) {
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  tip.style.left = `${Math.max(12, Math.min(box.left, window.innerWidth - tip.offsetWidth - 12))}px`;
  const below = box.bottom + 8;
  tip.style.top = `${below + tip.offsetHeight < window.innerHeight ? below : Math.max(8, box.top - tip.offsetHeight - 8)}px`;
}

for (const [kind, shows] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
  document.addEventListener(kind, (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target && shows) showTip(target);
    else if (target) tip.hidden = true;
  });
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
document.addEventListener("scroll", () => { tip.hidden = true; }, { capture: true, passive: true });

// --- tables ---

function makeSortable(table) {
  table.querySelectorAll("th").forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const numeric = head.classList.contains("number");
    const number = (cell) => (cell.dataset.sort ? parseFloat(cell.dataset.sort) : -Infinity);
    const key = (row) => (numeric ? number(row.cells[column]) : row.cells[column].textContent);
    const order = (a, b) => (numeric ? key(a) - key(b) || 0 : key(a).localeCompare(key(b)));
    [...table.tBodies[0].rows].sort((a, b) => (down ? -1 : 1) * order(a, b)).forEach((row) => table.tBodies[0].append(row));
  }));
}

function watchFrame(frame) {
  const scroll = frame.querySelector(".scroll"), swipe = frame.querySelector(".swipe");
  const update = () => {
    const more = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft > 2;
    frame.style.setProperty("--high", `${scroll.offsetHeight - 2}px`);
    frame.classList.toggle("more", more);
    swipe.hidden = scroll.scrollWidth - scroll.clientWidth <= 2;
  };
  scroll.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(scroll);
  const unfold = frame.querySelector(".unfold");
  if (unfold) {
    frame.classList.add("folded");
    unfold.hidden = false;
    unfold.addEventListener("click", () => frame.classList.remove("folded"));
  }
  update();
}

// --- downloads ---

const ENDINGS = { csv: "csv", markdown: "md", latex: "tex" };

function save(url, file) {
  const link = document.createElement("a");
  link.href = url;
  link.download = file;
  link.click();
}

document.querySelectorAll("[data-download]").forEach((button) => button.addEventListener("click", () => {
  const form = button.dataset.download, url = URL.createObjectURL(new Blob([downloads[form]], { type: "text/plain" }));
  save(url, `comparison.${ENDINGS[form]}`);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}));

document.querySelectorAll("[data-figure]").forEach((button) => button.addEventListener("click", async () => {
  const { figure, format } = button.dataset, plot = button.closest(".save").previousElementSibling;
  const size = { width: plot.clientWidth, height: plot.clientHeight };
  save(await Plotly.toImage(plot, { format, scale: format === "png" ? 3 : 1, ...size }), `comparison_${figure}.${format}`);
}));

// --- a section ---

function start(place) {
  const section = data[Number(place.dataset.section)];
  const find = (selector) => place.querySelector(selector);
  const figures = makeFigures(section, find);
  const byLabel = new Map(section.groups.map((group) => [group.label, group]));
  place.querySelectorAll(".groups .sortable td:first-child").forEach((cell) => {
    const group = byLabel.get(cell.textContent), label = document.createElement("span");
    label.textContent = cell.textContent;
    label.dataset.tip = group.settings;
    label.tabIndex = 0;
    label.setAttribute("aria-description", group.settings);
    cell.replaceChildren(label);
  });

  const chosen = () => {
    const words = find(".filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const choices = [...place.querySelectorAll(".choice")].filter((select) => select.value);
    return section.groups.filter((group) => words.every((word) => group.label.toLowerCase().includes(word))
      && choices.every((select) => group[select.dataset.key] === select.value));
  };

  function filterTables(groups) {
    const labels = new Set(groups.map((group) => group.label));
    if (groups.length < section.groups.length) place.querySelectorAll(".frame").forEach((frame) => frame.classList.remove("folded"));
    place.querySelectorAll(".groups tbody tr").forEach((row) => { row.hidden = !labels.has(row.cells[0].textContent); });
    place.querySelectorAll(".pairs tbody tr").forEach((row) => {
      row.hidden = !labels.has(row.cells[0].textContent) || !labels.has(row.cells[1].textContent);
    });
  }

  const drawCurves = (groups) => figures.curves(groups, find(".metric").value, find(".over").value, find(".metric").selectedOptions[0].text);
  const drawCosts = (groups) => figures.costs(groups, find(".cost").value, find(".cost").selectedOptions[0].text);

  function drawPair() {
    const [a, b] = ["a", "b"].map((side) => byLabel.get(find(`[data-side="${side}"]`).value));
    const pair = section.pairs.find((p) => (p.a === a.label && p.b === b.label) || (p.a === b.label && p.b === a.label));
    find(".answer.pair").textContent = pair ? pair.words
      : a === b ? "Choose two different groups." : "With so many groups, each was compared with the best one only.";
    const both = a.per_class && b.per_class && a !== b;
    find(".halves").hidden = !both;
    if (both) figures.pair(a, b);
    const pictures = find(".pictures");
    pictures.replaceChildren();
    if (pair && pair.only_a !== null) {
      showPictures(pictures, pair, "only_a", pair.a, pair.b);
      showPictures(pictures, pair, "only_b", pair.b, pair.a);
    }
  }

  function showPictures(where, pair, side, right, wrong) {
    const title = document.createElement("h4");
    title.textContent = `Only ${right} is right, ${wrong} is not: ${pair[side].toLocaleString("en")} test images`;
    const list = document.createElement("ul");
    list.className = "gallery";
    for (const entry of pair[`${side}_images`]) {
      const item = document.createElement("li");
      if (section.sheet) {
        const { url, columns, rows, places } = section.sheet, n = places[entry.image];
        const picture = document.createElement("i");
        picture.style.background = `url(${url}) ${-72 * (n % columns)}px ${-72 * Math.floor(n / columns)}px / ${72 * columns}px ${72 * rows}px`;
        item.append(picture);
      }
      const not = document.createElement("span");
      not.textContent = ` not ${section.classes[entry.instead]}, no. ${entry.image}`;
      item.append(section.classes[entry.true], not);
      list.append(item);
    }
    where.append(title, list);
  }

  const drawAll = () => {
    const groups = chosen();
    filterTables(groups);
    if (!groups.length) return;
    drawCurves(groups);
    drawCosts(groups);
    figures.differences(groups);
    figures.classes(groups);
  };
  place.querySelectorAll(".filter, .choice").forEach((control) => control.addEventListener("input", drawAll));
  place.querySelectorAll(".metric, .over").forEach((select) => select.addEventListener("input", () => drawCurves(chosen())));
  find(".cost").addEventListener("input", () => drawCosts(chosen()));
  const sides = [...place.querySelectorAll(".side")];
  sides.forEach((select, number) => {
    section.groups.forEach((group) => select.add(new Option(group.label)));
    select.selectedIndex = number;
    select.addEventListener("input", drawPair);
  });
  const everything = () => {
    section.groups.forEach((group, number) => { group.colour = colour(`--c${number % COLOURS}`); });
    drawAll();
    figures.byImages();
    if (sides.length) drawPair();
  };
  everything();
  return everything;
}

// --- start ---

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".frame").forEach(watchFrame);
window.ready = unpack(document.getElementById("plotly").textContent).then((code) => {
  const library = document.createElement("script");
  library.textContent = code;
  document.head.append(library);
  const drawn = [];
  document.querySelectorAll(".comparison").forEach((place) => {
    if (place.tagName !== "DETAILS") drawn.push(start(place));
    else place.addEventListener("toggle", () => drawn.push(start(place)), { once: true });
  });
  const change = (theme) => { setTheme(theme); drawn.forEach((redraw) => redraw()); };
  document.getElementById("theme").addEventListener("click", () => change(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => change(dark.matches ? "dark" : "light"));
});
