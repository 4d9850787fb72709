// A point that was opened: its axes, its reports, its layers, its memory, its bits.

function facts(pairs) {
  const entries = pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  return element("dl", {}, ...entries);
}

function resources(report) {
  const rows = report.resources.map(({ name, used, available }) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "number" }, number(used)),
      element("td", { class: "number" }, `of ${number(available)}`),
      element("td", {}, element("meter", { max: available, value: used, "aria-label": `${name} used` }))));
  return element("div", {}, element("h3", {}, "Resources"), element("div", { class: "scroll" }, element("table", {}, element("tbody", {}, ...rows))));
}

function clock(report) {
  const path = report.path;
  const speeds = report.fmax.map(({ seed, mhz }) => [`seed ${seed}`, `${number(mhz, 2)} MHz`]);
  return element("div", {}, element("h3", {}, "Fmax of each seed"), facts(speeds),
    element("p", { class: "hint" }, `Place and route aimed for ${number(report.target, 1)} MHz.`),
    element("h3", {}, `Critical path of seed ${path.seed}`),
    element("p", {}, element("code", {}, path.start), " → ", element("code", {}, path.end)),
    element("p", {}, `${number(path.delay, 2)} ns, ${number(path.routing, 2)} ns of it in wires`),
    element("details", {}, element("summary", {}, `${path.nets.length} nets on the way`),
      element("ol", {}, ...path.nets.map((net) => element("li", {}, element("code", {}, net))))));
}

// A plot with a title, drawn once it is in the page.
function chart(title, hint, height, data, layout) {
  const box = element("div", { class: "plot", role: "img", "aria-label": title, style: `height: ${height}px` });
  const figure = element("figure", {}, element("h3", {}, title), box, element("p", { class: "hint" }, hint));
  return { figure, draw: () => Plotly.react(box, data(), layoutOf(layout()), { ...CONFIG, displayModeBar: false }) };
}

function heightOf(rows) {
  return Math.min(900, 90 + 30 * rows);
}

// Names may be equal: positions tell rows apart, and names stand beside them.
function namesAlong(names) {
  const cut = (name) => (name.length > 18 ? `${name.slice(0, 8)}…${name.slice(-8)}` : name);
  return { type: "linear", tickmode: "array", tickvals: names.map((_, index) => index), ticktext: names.map((name) => plain(cut(name))) };
}

function cyclesChart(plan) {
  const layers = plan.layers, rows = layers.map((_, index) => index);
  const text = layers.map((layer) => [
    layer.layer, `${number(layer.steps)} steps, ${number(layer.idle)} idle`, `bound by ${layer.bound}`,
    `lanes used: ${number(100 * layer.utilisation, 1)} %`].map(plain).join("<br>"));
  const bar = (name, key, fill) => ({
    type: "bar", orientation: "h", name, y: rows, x: layers.map((layer) => layer[key]), marker: { color: fill },
    hoverinfo: "text", hovertext: text, textposition: "none",
  });
  const hint = `Latency ${number(plan.latency)} cycles; a new inference each ${number(plan.interval)} cycles.`;
  return chart("Where cycles go", hint, heightOf(layers.length),
    () => [bar("steps", "steps", series(0)), bar("idle", "idle", colour("idle"))],
    () => ({
      barmode: "stack", xaxis: { title: { text: "cycles" } },
      yaxis: { ...namesAlong(layers.map((layer) => layer.layer)), range: [layers.length - 0.5, -0.5] },
      legend: { orientation: "h", y: 1, yanchor: "bottom", traceorder: "normal" },
    }));
}

// Addresses upwards, layers to the right: a tensor is there from the layer that writes it to the last that reads it.
function memoryChart(plan) {
  const { depth, copies, map } = plan.memory, names = ["load", ...plan.layers.map((layer) => layer.layer)];
  const last = (region) => Math.min(Math.max(region.last, region.first), plan.layers.length - 1);
  const text = map.map((region) => [
    region.tensor, `addresses ${number(region.start)} to ${number(region.start + region.size - 1)}`,
    `shape ${region.shape.join(" x ")}`, `from ${names[region.first + 1] ?? "?"} to ${names[last(region) + 1] ?? "?"}`,
  ].map(plain).join("<br>"));
  const hint = `${number(depth)} elements; copies or banks: ${number(copies)}.`;
  return chart("Activation memory", hint, 320,
    () => [{
      type: "bar", x: map.map((region) => (region.first + last(region)) / 2 + 1), base: map.map((region) => region.start),
      y: map.map((region) => region.size), width: map.map((region) => last(region) - region.first + 0.9),
      marker: { color: map.map((_, index) => series(index)), line: { color: colour("paper"), width: 1 } },
      text: map.map((region) => plain(region.tensor)), textposition: "inside", insidetextanchor: "middle",
      insidetextfont: { color: colour("paper") },
      hoverinfo: "text", hovertext: text,
    }],
    () => ({
      barmode: "overlay", showlegend: false, yaxis: { title: { text: "address" }, range: [0, depth] },
      xaxis: { ...namesAlong(names), range: [-0.5, names.length - 0.5] },
    }));
}

function bitsChart(plan) {
  const parts = plan.bits, sum = parts.reduce((total, part) => total + part.bits, 0);
  const text = parts.map((part) =>
    [`${part.part}: ${number(part.bits)} bits, ${number((100 * part.bits) / Math.max(sum, 1), 1)} %`, ...part.roms]
      .map(plain).join("<br>"));
  return chart("Where bits go", `${number(sum)} bits in ROMs.`, heightOf(parts.length),
    () => [{
      type: "bar", orientation: "h", y: parts.map((_, index) => index), x: parts.map((part) => part.bits),
      marker: { color: series(2) }, hoverinfo: "text", hovertext: text, textposition: "none",
    }],
    () => ({
      xaxis: { title: { text: "bits" } },
      yaxis: { ...namesAlong(parts.map((part) => part.part)), range: [parts.length - 0.5, -0.5] },
    }));
}

const LAYER_COLUMNS = [
  ["layer", "layer"], ["rows", "rows", 0], ["columns", "columns", 0], ["positions", "positions", 0], ["kept", "kept", 0],
  ["steps", "steps", 0], ["idle", "idle", 0], ["cycles", "cycles", 0], ["bound by", "bound"], ["lanes used, %", "used", 1],
];

// Fills the section; gives the charts, to be drawn when colours change.
function showPoint(section, point, close) {
  const title = element("h2", { id: "opened", tabindex: "-1" }, pointTitle(point));
  const head = element("div", { class: "head" }, title, element("button", { class: "plain", type: "button", click: close }, "Close"));
  const charts = point.plan ? [cyclesChart(point.plan), memoryChart(point.plan), bitsChart(point.plan)] : [];
  const unbuilt = { failed: "Failed", skipped: "Skipped" }[point.status];
  const reason = unbuilt ? [element("p", { class: point.status }, `${unbuilt}: ${point.reason}`)] : [];
  const figures = DATA.figures.filter((figure) => point.figures[figure.name] !== null);
  section.replaceChildren(head, ...reason,
    facts(DATA.axes.map((axis) => [axisTitle(axis), word(point.axes[axis])])),
    facts(figures.map((figure) => [figure.title, number(point.figures[figure.name], figure.digits)])),
    element("div", { class: "charts" }, ...charts.map((made) => made.figure)));
  if (point.plan) {
    const rows = point.plan.layers.map((layer) => ({ ...layer, used: 100 * layer.utilisation }));
    section.append(element("h3", {}, "Layers"), smallTable("Cycles of each layer", LAYER_COLUMNS, rows));
  }
  if (point.report) {
    section.append(element("div", { class: "facts" }, resources(point.report), clock(point.report)),
      element("p", { class: "hint" }, `${point.report.tools.join(", ")}; design ${point.report.digest.slice(0, 16)}`));
  }
  section.hidden = false;
  for (const made of charts) made.draw();
  title.focus({ preventScroll: true });
  section.scrollIntoView({ block: "start" });
  return charts;
}

function pointTitle(point) {
  const told = ["device", "lanes"].filter((axis) => axis in point.axes);
  return [point.network, ...told.map((axis) => (axis === "device" ? word(point.axes[axis]) : `${word(point.axes[axis])} lanes`))].join(", ");
}
