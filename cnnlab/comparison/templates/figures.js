"use strict";
// Draws the figures of a comparison with plotly. Every figure has a title with data and n, and axes with units.

const COLOURS = 10; // --c0 to --c9
const CURVES_AT_FIRST = 10; // the others are hidden until their name in the legend is clicked
const ROWS = 20; // groups in a figure with a row for each
const narrow = () => window.innerWidth < 700;
const percent = (share) => (share === null ? null : 100 * share);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const cut = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
const countedRuns = (groups) => {
  const counts = groups.map((group) => group.n), least = Math.min(...counts), most = Math.max(...counts);
  return least === most ? `n = ${most}` : `n = ${least} to ${most}`;
};

function layout(title, more) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--soft"), linecolor: colour("--line"), automargin: true };
  const width = narrow() ? 46 : 150;
  const wrapped = (text) => (text.length <= width ? [text] : text.match(new RegExp(`.{1,${width}}(\\s|$)`, "g")) || [text]);
  const lines = [...wrapped(title[0]).map((line) => `<b>${line}</b>`), ...title.slice(1).flatMap(wrapped)];
  return {
    paper_bgcolor: colour("--paper"), plot_bgcolor: colour("--paper"),
    font: { color: colour("--ink"), size: narrow() ? 11 : 12, family: colour("--sans") },
    margin: { l: 10, r: 10, t: 20 + 17 * lines.length, b: 10 }, hoverlabel: { namelength: -1 }, dragmode: narrow() ? false : "zoom",
    title: { text: lines.join("<br>"), font: { size: narrow() ? 12 : 13 },
      x: 0, xref: "container", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 17, l: 4 } },
    legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", font: { size: 11 } },
    ...more,
    xaxis: { ...axis, ...(more.xaxis || {}) }, yaxis: { ...axis, ...(more.yaxis || {}) },
  };
}

// Plotly takes < and & of a name for markup.
const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

function draw(place, traces, title, more) {
  place.setAttribute("role", "img"); // the tables have its numbers
  place.setAttribute("aria-label", plain(title.join("; ")));
  return Plotly.react(place, traces, layout(title, more), { responsive: true, displaylogo: false, displayModeBar: false });
}

function makeFigures(section, find) {
  const about = (groups) => `${safe(section.title)}, ${countedRuns(groups)}`;
  const name = (group) => safe(group.label);

  function curves(groups, metric, over, metricWords) {
    const isAccuracy = !metric.endsWith("loss");
    const scaled = (values) => (isAccuracy ? values.map(percent) : values);
    const drawn = groups.filter((group) => group.curve && group.curve.epoch.length);
    const traces = drawn.flatMap((group, number) => {
      const curve = group.curve, spread = curve[metric];
      const known = curve[over].map((x, i) => i).filter((i) => curve[over][i] !== null && spread.mean[i] !== null);
      const at = (values) => known.map((i) => values[i]);
      const x = at(curve[over]), low = scaled(at(spread.low)), high = scaled(at(spread.high));
      const common = { legendgroup: group.label, visible: number < CURVES_AT_FIRST ? true : "legendonly" };
      const dash = ["solid", "dash", "dot"][Math.floor(number / COLOURS) % 3];
      return [
        { ...common, x: [...x, ...x.slice().reverse()], y: [...high, ...low.reverse()], fill: "toself", hoverinfo: "skip",
          fillcolor: group.colour + "2e", line: { width: 0 }, mode: "lines", showlegend: false },
        { ...common, x, y: scaled(at(spread.mean)), name: `${name(group)} (n = ${group.n})`, mode: x.length < 3 ? "lines+markers" : "lines",
          line: { color: group.colour, width: 2, dash }, marker: { color: group.colour }, customdata: at(curve.runs),
          hovertemplate: `%{y:.4~g}${isAccuracy ? " %" : ""} at ${over} %{x:.4~g} (%{customdata} of ${group.n} runs)` },
      ];
    });
    const reference = section.reference, reach = section.reach;
    if (reference && reference.metric === metric && over === "epoch") {
      traces.push({ x: reference.epochs, y: scaled(reference.values), name: safe(reference.name), mode: "lines+markers",
        line: { color: colour("--soft"), dash: "dot" }, marker: { symbol: "x", color: colour("--ink") },
        hovertemplate: `%{y:.4~g}${isAccuracy ? " %" : ""} at epoch %{x}` });
    }
    const goal = reach && reach.metric === metric ? scaled([reach.value])[0] : null;
    // On a phone the legend takes a line for each name or two.
    find(".curves").style.height = narrow() ? `${340 + 11 * traces.length}px` : `${430 + 3 * traces.length}px`;
    const words = metricWords[0].toUpperCase() + metricWords.slice(1);
    draw(find(".curves"), traces, [`${words}: mean of the runs, with lowest and highest`, about(groups)], {
      xaxis: { title: { text: over === "epoch" ? "epoch" : "seconds of training" },
        dtick: over === "epoch" && Math.max(...drawn.flatMap((group) => group.curve.epoch)) <= 12 ? 1 : undefined },
      yaxis: { title: { text: `${metricWords}${isAccuracy ? ", %" : ""}` }, type: isAccuracy ? "linear" : "log" },
      shapes: goal === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: goal, y1: goal,
        line: { color: colour("--soft"), width: 1, dash: "dash" } }],
    });
  }

  function short(value) {
    const [unit, scale] = [["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1]].find(([, least]) => value >= 0.9995 * least) || ["", 1];
    return `${Number((value / scale).toPrecision(3))} ${unit}`.trim();
  }

  // Ticks of a logarithmic axis: as many of 1, 2 and 5 times a power of ten as there is room for.
  function logAxis(values) {
    const low = Math.log10(Math.min(...values)), high = Math.log10(Math.max(...values)), pad = 0.08 * (high - low) + 0.05;
    const room = narrow() ? 4 : 9;
    const ticks = (factors) => {
      const every = [];
      for (let power = Math.floor(low) - 1; power <= high + 1; power++) factors.forEach((factor) => every.push(factor * 10 ** power));
      return every.filter((value) => Math.log10(value) >= low - pad && Math.log10(value) <= high + pad);
    };
    const tickvals = [[1, 2, 5], [1, 3], [1]].map(ticks).find((found) => found.length <= room) || ticks([1]).filter((_, i) => i % 2 === 0);
    return { type: "log", range: [low - pad, high + pad], tickvals, ticktext: tickvals.map(short) };
  }

  // Puts each name where it lies on no point, error bar or other name; without such a place it is left out.
  function placeNames(plot, groups, cost) {
    const { xaxis, yaxis } = plot._fullLayout;
    const at = groups.map((group) => ({ x: xaxis.d2p(group[cost]), y: yaxis.d2p(percent(group.mean)),
      low: yaxis.d2p(percent(group.low ?? group.mean)), high: yaxis.d2p(percent(group.high ?? group.mean)) }));
    const taken = at.flatMap(({ x, y, low, high }) => [[x - 2, high, x + 2, low], [x - 6, y - 6, x + 6, y + 6]]);
    const front = at.filter((_, i) => groups[i].front.includes(cost)).sort((a, b) => a.x - b.x);
    front.slice(1).forEach((end, i) => { // the line, as many points
      for (let part = 0; part <= 1; part += 0.02) {
        const [x, y] = [front[i].x + part * (end.x - front[i].x), front[i].y + part * (end.y - front[i].y)];
        taken.push([x - 1, y - 1, x + 1, y + 1]);
      }
    });
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `11px ${colour("--sans")}`;
    const sides = [["left", 9, 0], ["right", -9, 0], ["left", 5, 14], ["right", -5, 14], ["left", 5, -14], ["right", -5, -14]];
    return groups.flatMap((group, number) => {
      const width = pen.measureText(group.label).width, { x, y } = at[number];
      for (const [xanchor, xshift, yshift] of sides) {
        const left = x + xshift - (xanchor === "right" ? width : 0), middle = y - yshift;
        const box = [left - 2, middle - 7, left + width + 2, middle + 7];
        const free = box[0] >= 0 && box[2] <= xaxis._length && box[1] >= -6 && box[3] <= yaxis._length
          && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
        if (free) {
          taken.push(box);
          return [{ x: xaxis.type === "log" ? Math.log10(group[cost]) : group[cost], y: percent(group.mean), text: safe(group.label),
            xanchor, yanchor: "middle", xshift, yshift, showarrow: false, borderpad: 0, font: { size: 11 } }];
        }
      }
      return [];
    });
  }

  function costs(groups, cost, costWords) {
    const known = groups.filter((group) => group[cost] !== null && group[cost] > 0);
    const front = known.filter((group) => group.front.includes(cost)).sort((a, b) => a[cost] - b[cost]);
    const line = { x: front.map((group) => group[cost]), y: front.map((group) => percent(group.mean)), mode: "lines",
      line: { color: colour("--soft"), width: 1, dash: "dot" }, hoverinfo: "skip" };
    const values = known.map((group) => group[cost]), least = Math.min(...values), most = Math.max(...values), wide = most > 3 * least;
    const room = Math.max(0.15 * (most - least), 0.1 * most); // equal values lie in the middle
    const linear = { tickformat: "~s", nticks: narrow() ? 4 : 8, range: [least - room, most + room] };
    const points = {
      x: values, y: known.map((group) => percent(group.mean)),
      hovertext: known.map((group) => `${name(group)}: ${percent(group.mean).toFixed(2)} %, n = ${group.n}`),
      hovertemplate: "%{hovertext}<br>%{x:,.4~s}<extra></extra>", mode: "markers",
      error_y: { type: "data", symmetric: false, thickness: 1, width: 3, color: colour("--soft"),
        array: known.map((group) => percent(group.high === null ? 0 : group.high - group.mean)),
        arrayminus: known.map((group) => percent(group.low === null ? 0 : group.mean - group.low)) },
      marker: { size: 9, color: known.map((group) => group.colour),
        symbol: known.map((group) => (group.front.includes(cost) ? "circle" : "square-open")) },
    };
    const bounds = known.flatMap((group) => [percent(group.low ?? group.mean), percent(group.high ?? group.mean)]);
    const pad = 0.06 * (Math.max(...bounds) - Math.min(...bounds)) + 0.1;
    const place = find(".costs");
    const drawn = draw(place, [line, points], [`Accuracy against cost: ${section.figure} with 95 % intervals`, about(groups)], {
      showlegend: false, xaxis: { title: { text: costWords }, ...(wide ? logAxis(values) : linear) },
      yaxis: { title: { text: `${section.figure}, %` }, range: [Math.min(...bounds) - pad, Math.min(Math.max(...bounds) + pad, 101.5)] },
    });
    const names = () => Plotly.relayout(place, { annotations: placeNames(place, known, cost) });
    place.removeAllListeners?.("plotly_relayout");
    return drawn.then(names).then(() => place.on("plotly_relayout", (change) => "annotations" in change || names()));
  }

  function differences(groups) {
    const shown = new Map(groups.map((group) => [group.label, group])), best = section.groups[0];
    const pairs = section.pairs.filter((pair) => pair.a === best.label && shown.has(pair.b) && pair.low !== null).slice(0, ROWS);
    const place = find(".differences");
    if (!place) return;
    const kinds = [["better", "--c0", (p) => p.significant.includes("joint")],
      ["shown in part: see the verdicts", "--c1", (p) => p.significant.length && !p.significant.includes("joint")],
      ["may be chance", "--soft", (p) => !p.significant.length]];
    const traces = kinds.map(([words, ink, fits]) => ({ words, ink, its: pairs.filter(fits) })).filter(({ its }) => its.length)
      .map(({ words, ink, its }) => ({
        x: its.map((pair) => percent(pair.difference)), y: its.map((pair) => pairs.indexOf(pair)), name: words, mode: "markers",
        marker: { color: colour(ink), size: 9 }, text: its.map((pair) => `${safe(pair.b)}: ${safe(pair.verdict)}`), hovertemplate: "%{x:+.2f} points<br>%{text}<extra></extra>",
        error_x: { type: "data", symmetric: false, thickness: 1.5, width: 3, color: colour(ink),
          array: its.map((pair) => percent(pair.high - pair.difference)), arrayminus: its.map((pair) => percent(pair.difference - pair.low)) },
      }));
    place.style.height = `${150 + 26 * pairs.length}px`;
    place.style.minHeight = "0";
    draw(place, traces, [`${name(best)} minus each other group: differences in ${section.figure} with 95 % intervals`, about(groups)], {
      xaxis: { title: { text: "percentage points" }, zeroline: true },
      yaxis: { range: [pairs.length - 0.5, -0.5], zeroline: false, tickvals: pairs.map((_, i) => i),
        ticktext: pairs.map((pair) => safe(cut(pair.b, narrow() ? 18 : 48))) },
    });
  }

  function byImages() {
    const place = find(".by-images");
    if (!place) return;
    const traces = section.by_images.flatMap((curve, number) => {
      const ink = colour(`--c${number % COLOURS}`), [x, y, low, high] = [0, 1, 2, 3].map((i) => curve.curve.map((point) => point[i]));
      return [
        { x: [...x, ...x.slice().reverse()], y: [...high, ...low.slice().reverse()].map(percent), fill: "toself", fillcolor: ink + "2e",
          mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: number, visible: low[0] !== null },
        { x, y: y.map(percent), mode: "lines", line: { color: ink }, hoverinfo: "skip", showlegend: false, legendgroup: number },
        { x: curve.images, y: curve.accuracies.map(percent), mode: "markers", marker: { color: ink, size: 8 }, legendgroup: number,
          name: `${safe(curve.label)} (${curve.images.length} runs)`, hovertemplate: "%{y:.2f} % with %{x:,} images" },
      ];
    });
    const measured = section.by_images.flatMap((curve) => [...curve.accuracies, ...curve.curve.map((point) => point[1])]).map(percent);
    const pad = 0.1 * (Math.max(...measured) - Math.min(...measured)) + 1;
    draw(place, traces, ["Every run by its training images, and the power law fitted to them with its 95 % interval, to twice as many", safe(section.title)], {
      xaxis: { title: { text: "training images" }, ...logAxis(section.by_images.flatMap((curve) => curve.curve.map((point) => point[0]))) },
      yaxis: { title: { text: `${section.figure}, %` }, range: [Math.max(0, Math.min(...measured) - pad), Math.min(101, Math.max(...measured) + pad)] },
    });
  }

  function classes(groups) {
    const place = find(".classes"), rows = groups.filter((group) => group.per_class).slice(0, ROWS);
    if (!place || !rows.length) return;
    const shares = rows.map((group) => group.per_class.map(percent));
    const least = 10 * Math.floor(Math.min(...shares.flat()) / 10);
    place.style.height = `${170 + 24 * rows.length}px`;
    place.style.minHeight = "0";
    const isDark = document.documentElement.dataset.theme === "dark";
    draw(place, [{ type: "heatmap", z: shares, x: section.classes.map(safe), y: rows.map((_, i) => i), zmin: least, zmax: 100,
      colorscale: [[0, colour("--paper")], [1, colour("--c0") + (isDark ? "88" : "")]], xgap: 1, ygap: 1,
      ...(isDark ? { textfont: { color: colour("--ink") } } : {}),
      colorbar: { thickness: 10, ticksuffix: " %", tickvals: [least, (least + 100) / 2, 100] },
      texttemplate: section.classes.length <= (narrow() ? 6 : 20) ? "%{z:.1f}" : "",
      customdata: rows.map((group) => section.classes.map(() => name(group))), hovertemplate: "%{customdata}: %{z:.2f} % of %{x}<extra></extra>" }],
      [`Accuracy on each class, in %, on a scale from ${least} % to 100 %`, about(groups)], {
        xaxis: { type: "category", title: { text: "class" }, tickangle: narrow() ? -60 : -30, showgrid: false },
        yaxis: { autorange: "reversed", showgrid: false, tickvals: rows.map((_, i) => i), ticktext: rows.map((group) => safe(cut(group.label, narrow() ? 18 : 48))) },
      });
  }

  function pair(a, b) {
    const names = section.classes.map(safe), about = `A: ${name(a)} (n = ${a.n}), B: ${name(b)} (n = ${b.n})`;
    draw(find(".by-class"), [{ type: "bar", x: a.per_class.map((share, i) => percent(share - b.per_class[i])), y: names,
      orientation: "h", marker: { color: a.per_class.map((share, i) => colour(share >= b.per_class[i] ? "--c0" : "--c1")) },
      customdata: a.per_class.map((share, i) => [percent(share), percent(b.per_class[i])]),
      hovertemplate: "%{y}: A %{customdata[0]:.2f} %, B %{customdata[1]:.2f} %<extra></extra>" }],
      ["Accuracy on each class: A minus B", about],
      { showlegend: false, xaxis: { title: { text: "percentage points" }, zeroline: true }, yaxis: { autorange: "reversed", type: "category" } });
    const difference = a.confusion.map((row, i) => row.map((count, j) => count - b.confusion[i][j]));
    const perClass = a.confusion.flat().reduce((sum, count) => sum + count, 0) / names.length;
    const most = Math.max(1, 0.05 * perClass, ...difference.flat().map(Math.abs)); // a few images more look harmless
    draw(find(".confusion"), [{ type: "heatmap", z: difference, x: names, y: names, zmin: -most, zmax: most,
      colorscale: [[0, colour("--c1")], [0.5, colour("--paper")], [1, colour("--c0")]], colorbar: { thickness: 10 },
      text: difference.map((row) => row.map((count) => (Math.abs(count) < 0.05 ? "" : count.toFixed(Number.isInteger(count) ? 0 : 1)))),
      texttemplate: names.length <= 12 && !narrow() ? "%{text}" : "",
      hovertemplate: "true %{y}, predicted %{x}: %{z:+.2f} images<extra></extra>" }],
      ["Test images by true and predicted class: number of A minus that of B", about],
      { xaxis: { title: { text: "predicted" }, type: "category", tickangle: -45, showgrid: false },
        yaxis: { title: { text: "true" }, autorange: "reversed", type: "category", showgrid: false } });
  }

  return { curves, costs, differences, byImages, classes, pair };
}
