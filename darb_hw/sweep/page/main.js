// The page: reads the data, joins filters, plots, table and the opened point.

const DATA = JSON.parse(document.getElementById("data").textContent);
const POINTS = DATA.points.map((point, index) => ({ ...point, index }));
const DEVICES = [...new Set(POINTS.map((point) => word(point.axes.device)))];

function columns() {
  const varies = (axis) => new Set(POINTS.map((point) => word(point.axes[axis]))).size > 1;
  const axes = DATA.axes.filter((axis) => axis !== "network" && varies(axis)).map((axis) => ({
    title: axisTitle(axis), of: (point) => point.axes[axis],
    digits: POINTS.every((point) => Number.isInteger(point.axes[axis] ?? 0)) ? 0 : undefined,
  }));
  const figures = DATA.figures.map((figure) => ({
    title: figure.title, of: (point) => point.figures[figure.name], digits: figure.digits,
  }));
  return [{ title: "network", of: (point) => point.network }, ...axes, ...figures];
}

function start() {
  const find = (id) => document.getElementById(id);
  const section = find("point");
  let current = null, charts = [], opener = null;

  const filters = new Filters(find("filters"), POINTS, () => draw());
  const has = (name) => POINTS.some((point) => point.figures[name] !== null);
  const plots = [
    new Plot("plot-1", "First plot", "luts", "rate", (index) => open(index)),
    new Plot("plot-2", "Second plot", "stored_bits", has("accuracy") ? "accuracy" : "rate", (index) => open(index)),
  ];
  const table = new Table(find("table"), find("left"), columns(), (index) => open(index));

  function draw() {
    const points = filters.apply(POINTS);
    const of = (status) => points.filter((point) => point.status === status).length;
    const some = (status) => (of(status) ? `; ${number(of(status))} of them ${status}` : "");
    const unbuilt = some("failed") + some("skipped");
    find("count").textContent = `${number(points.length)} of ${number(POINTS.length)} points${unbuilt}`;
    for (const plot of plots) plot.draw(points, current);
    table.draw(points, current);
  }

  function open(index) {
    [current, opener] = [index, index];
    draw();
    charts = showPoint(section, POINTS[index], close);
  }

  function close() {
    section.hidden = true;
    section.replaceChildren();
    [current, charts] = [null, []];
    draw();
    document.querySelector(`#table tr[data-index="${opener}"] button`)?.focus();
  }

  function recolour() {
    draw();
    for (const made of charts) made.draw();
  }

  find("name").textContent = `Sweep ${DATA.name}`;
  find("same").textContent = filters.same ? `The same for all points: ${filters.same}.` : "";
  find("plots").append(...plots.map((plot) => plot.figure));
  draw();
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", recolour);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && current !== null) close();
  });
}

start();
