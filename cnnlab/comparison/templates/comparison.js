"use strict";
// Draws the figures with plotly from the JSON in #data, and reacts to filters and choices.

const COLOURS = 10; // --c0 to --c9
const CURVES_AT_FIRST = 10; // the others are hidden until their name in the legend is clicked
const data = JSON.parse(document.getElementById("data").textContent);
const narrow = () => window.innerWidth < 700;
const percent = (share) => (share === null ? null : 100 * share);

// --- light and dark ---

const wanted = new URLSearchParams(location.search).get("theme");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const setTheme = (theme) => { document.documentElement.dataset.theme = theme; };
setTheme(wanted || (dark.matches ? "dark" : "light"));

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function layout(more) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), size: narrow() ? 11 : 12, family: colour("--sans") },
    margin: { l: 10, r: 10, t: 30, b: 10 }, hoverlabel: { namelength: -1 }, dragmode: narrow() ? false : "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--line"), activecolor: colour("--accent") },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", font: { size: 11 } },
    ...more,
    xaxis: { ...axis, ...(more.xaxis || {}) }, yaxis: { ...axis, ...(more.yaxis || {}) },
  };
}

const draw = (place, traces, more) =>
  Plotly.react(place, traces, layout(more), {
  responsive: true, displaylogo: false, displayModeBar: narrow() || !more.zooms ? false : "hover",
  modeBarButtonsToRemove: ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
});

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

// --- a section ---

function start(place) {
  const section = data[Number(place.dataset.section)];
  const find = (selector) => place.querySelector(selector);
  const byLabel = new Map(section.groups.map((group) => [group.label, group]));

  const chosen = () => {
    const words = find(".filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const choices = [...place.querySelectorAll(".choice")].filter((select) => select.value);
    return section.groups.filter((group) => words.every((word) => group.label.toLowerCase().includes(word))
      && choices.every((select) => group[select.dataset.key] === select.value));
  };

  function filterTables(groups) {
    const labels = new Set(groups.map((group) => group.label));
    place.querySelectorAll(".groups tbody tr").forEach((row) => { row.hidden = !labels.has(row.cells[0].textContent); });
    place.querySelectorAll(".pairs tbody tr").forEach((row) => {
      row.hidden = !labels.has(row.cells[0].textContent) || !labels.has(row.cells[1].textContent);
    });
  }

  function drawCurves(groups) {
    const metric = find(".metric").value, over = find(".over").value;
    const isAccuracy = !metric.endsWith("loss");
    const scaled = (values) => (isAccuracy ? values.map(percent) : values);
    const traces = groups.filter((group) => group.curve && group.curve.epoch.length).flatMap((group, number) => {
      const curve = group.curve, spread = curve[metric];
      const known = curve[over].map((x, i) => i).filter((i) => curve[over][i] !== null && spread.mean[i] !== null);
      const at = (values) => known.map((i) => values[i]);
      const x = at(curve[over]), low = scaled(at(spread.low)), high = scaled(at(spread.high));
      const common = { legendgroup: group.label, visible: number < CURVES_AT_FIRST ? true : "legendonly" };
      return [
        { ...common, x: [...x, ...x.slice().reverse()], y: [...high, ...low.reverse()], fill: "toself", hoverinfo: "skip",
          fillcolor: group.colour + "2e", line: { width: 0 }, mode: "lines", showlegend: false },
        { ...common, x, y: scaled(at(spread.mean)), name: group.label, mode: x.length < 3 ? "markers" : "lines",
          line: { color: group.colour, width: 2 }, marker: { color: group.colour }, customdata: at(curve.runs),
          hovertemplate: `%{y:.4~g}${isAccuracy ? " %" : ""} at ${over} %{x:.4~g} (%{customdata} of ${group.n} runs)` },
      ];
    });
    const reference = section.reference, reach = section.reach;
    if (reference && reference.metric === metric && over === "epoch") {
      traces.push({ x: reference.epochs, y: scaled(reference.values), name: reference.name, mode: "lines+markers",
        line: { color: colour("--soft"), dash: "dot" }, marker: { symbol: "x", color: colour("--ink") },
        hovertemplate: `%{y:.4~g}${isAccuracy ? " %" : ""} at epoch %{x}` });
    }
    const goal = reach && reach.metric === metric ? scaled([reach.value])[0] : null;
    // On a phone the legend takes a line for each name or two.
    find(".curves").style.height = narrow() ? `${320 + 11 * traces.length}px` : "420px";
    draw(find(".curves"), traces, {
      zooms: true,
      xaxis: { title: { text: over === "epoch" ? "epoch" : "seconds of training" },
        dtick: over === "epoch" && Math.max(...groups.flatMap((group) => (group.curve ? group.curve.epoch : []))) <= 12 ? 1 : undefined },
      yaxis: { title: { text: isAccuracy ? "%" : "loss" }, type: isAccuracy ? "linear" : "log" },
      shapes: goal === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: goal, y1: goal,
        line: { color: colour("--soft"), width: 1, dash: "dash" } }],
    });
  }

  function drawCosts(groups) {
    const cost = find(".cost").value;
    const known = groups.filter((group) => group[cost] !== null);
    const front = known.filter((group) => group.front.includes(cost)).sort((a, b) => a[cost] - b[cost]);
    const line = { x: front.map((group) => group[cost]), y: front.map((group) => percent(group.mean)), mode: "lines",
      line: { color: colour("--soft"), width: 1, dash: "dot" }, hoverinfo: "skip" };
    const costs = known.map((group) => group[cost]), wide = Math.max(...costs) > 3 * Math.min(...costs);
    const named = !narrow() || known.length <= 5;
    const points = {
      x: costs, y: known.map((group) => percent(group.mean)),
      text: known.map((group, number) => (named && number < 12 ? group.label : "")), textposition: "top center",
      hovertext: known.map((group) => `${group.label}: ${percent(group.mean).toFixed(2)} %, n = ${group.n}`),
      hovertemplate: "%{hovertext}<br>%{x:,.4~s}<extra></extra>", mode: "markers+text", cliponaxis: false,
      error_y: { type: "data", symmetric: false, thickness: 1, color: colour("--soft"),
        array: known.map((group) => percent(group.high === null ? 0 : group.high - group.mean)),
        arrayminus: known.map((group) => percent(group.low === null ? 0 : group.mean - group.low)) },
      marker: { size: 9, color: known.map((group) => group.colour),
        symbol: known.map((group) => (group.front.includes(cost) ? "circle" : "square-open")) },
    };
    draw(find(".costs"), [line, points], {
      zooms: true, showlegend: false, xaxis: { type: wide ? "log" : "linear", title: { text: find(".cost").selectedOptions[0].text } },
      yaxis: { title: { text: `${section.figure}, %` } },
    });
  }

  function drawPair() {
    const [a, b] = ["a", "b"].map((side) => byLabel.get(find(`[data-side="${side}"]`).value));
    const pair = section.pairs.find((p) => (p.a === a.label && p.b === b.label) || (p.a === b.label && p.b === a.label));
    find(".answer.pair").textContent = pair ? pair.words
      : a === b ? "Choose two different groups." : "With so many groups, each was compared with the best one only.";
    const both = a.per_class && b.per_class && a !== b;
    find(".halves").hidden = !both;
    if (both) {
      draw(find(".by-class"), [{ type: "bar", x: a.per_class.map((share, i) => percent(share - b.per_class[i])), y: section.classes,
        orientation: "h", marker: { color: a.per_class.map((share, i) => (share >= b.per_class[i] ? a.colour : b.colour)) },
        customdata: a.per_class.map((share, i) => [percent(share), percent(b.per_class[i])]),
        hovertemplate: "%{y}: A %{customdata[0]:.2f} %, B %{customdata[1]:.2f} %<extra></extra>" }],
        { title: { text: "accuracy by class: A minus B, percentage points", font: { size: 13 } }, showlegend: false, margin: { l: 10, r: 10, t: 40, b: 10 },
          yaxis: { autorange: "reversed", type: "category" } });
      const difference = a.confusion.map((row, i) => row.map((count, j) => count - b.confusion[i][j]));
      const most = Math.max(1e-9, ...difference.flat().map(Math.abs));
      draw(find(".confusion"), [{ type: "heatmap", z: difference, x: section.classes, y: section.classes, zmin: -most, zmax: most,
        colorscale: [[0, colour("--c1")], [0.5, colour("--wash")], [1, colour("--c0")]], colorbar: { thickness: 10 },
        texttemplate: section.classes.length <= 12 && !narrow() ? "%{z:.3~g}" : "",
        hovertemplate: "true %{y}, predicted %{x}: %{z:+.2f} images<extra></extra>" }],
        { title: { text: "confusions: images of A minus B", font: { size: 13 } }, margin: { l: 10, r: 10, t: 40, b: 10 },
          xaxis: { title: { text: "predicted" }, type: "category", tickangle: -45 },
          yaxis: { title: { text: "true" }, autorange: "reversed", type: "category" } });
    }
    const pictures = find(".pictures");
    pictures.replaceChildren();
    if (pair && pair.only_a !== null) {
      showPictures(pictures, pair, "only_a", pair.a, pair.b);
      showPictures(pictures, pair, "only_b", pair.b, pair.a);
    }
  }

  function showPictures(where, pair, side, right, wrong) {
    const title = document.createElement("h4");
    title.textContent = `${right} correct, ${wrong} wrong: ${pair[side].toLocaleString("en")} test images`;
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

  const drawAll = () => { const groups = chosen(); filterTables(groups); drawCurves(groups); drawCosts(groups); };
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
unpack(document.getElementById("plotly").textContent).then((code) => {
  const library = document.createElement("script");
  library.textContent = code;
  document.head.append(library);
  const sections = [...document.querySelectorAll("section.comparison")].map(start);
  const change = (theme) => { setTheme(theme); sections.forEach((redraw) => redraw()); };
  document.getElementById("theme").addEventListener("click", () => change(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", () => change(dark.matches ? "dark" : "light"));
});
