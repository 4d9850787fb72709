// The plots of all points: two figures against each other, with the Pareto front of each device.

const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "star", "hexagon"];
const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function series(index) {
  return colour(`series-${index % 6}`);
}

// What all plots of the page share, in the colours of now.
function layoutOf(changes) {
  const axis = {
    gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("quiet"), automargin: true,
    fixedrange: false,
  };
  const { xaxis, yaxis, ...others } = changes;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("text"), family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("text") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
    margin: { l: 10, r: 10, t: 10, b: 10 },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis },
    ...others,
  };
}

// Indices of the points [cost, gain] that no other one beats, by rising cost; of equal points the first one counts.
function pareto(points) {
  const indices = points.map((_, index) => index);
  indices.sort((a, b) => points[a][0] - points[b][0] || points[b][1] - points[a][1] || a - b);
  let best = -Infinity;
  return indices.filter((index) => {
    if (points[index][1] <= best) return false;
    best = points[index][1];
    return true;
  });
}

const SHORT = new Intl.NumberFormat("en", { notation: "compact" });

// Many times more at one end than at the other: equal factors are equally far apart then. Plotly would write 2 and 5
// for 200k and 500k.
function scaleOf(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (!(least > 0 && most > 8 * least)) return { type: "linear" };
  const powers = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most) + 1; power += 1) powers.push(10 ** power);
  const tickvals = powers.flatMap((power) => (powers.length > 4 ? [power] : [power, 2 * power, 5 * power]));
  return { type: "log", tickmode: "array", tickvals, ticktext: tickvals.map((value) => SHORT.format(value)) };
}

// Points of one device as traces: the front, the others, those that were not built.
function traces(device, position, points, x, y) {
  const known = points.filter((point) => point.figures[x.name] !== null && point.figures[y.name] !== null);
  const built = known.filter((point) => point.status === "ok");
  const best = (figure, point, more) => (figure.more === more ? 1 : -1) * point.figures[figure.name];
  const front = pareto(built.map((point) => [best(x, point, false), best(y, point, true)])).map((index) => built[index]);
  const colourOfDevice = series(position), symbol = SYMBOLS[position % SYMBOLS.length];
  const trace = (name, chosen, changes) => ({
    type: "scatter", mode: "markers", name: plain(name), legendgroup: plain(device), showlegend: false,
    x: chosen.map((point) => point.figures[x.name]), y: chosen.map((point) => point.figures[y.name]),
    customdata: chosen.map((point) => point.index), hoverinfo: "text", hovertext: chosen.map(hover), ...changes,
  });
  const open = { symbol: `${symbol}-open`, size: 9, color: colourOfDevice, line: { width: 1.5 } };
  return [
    trace(device, front, {
      mode: "lines+markers", showlegend: true, line: { color: colourOfDevice, width: 1.5 },
      marker: { symbol, size: 10, color: colourOfDevice },
    }),
    trace(`${device}, others`, built.filter((point) => !front.includes(point)), { marker: open }),
    trace(`${device}, not built`, known.filter((point) => point.status !== "ok"), {
      marker: { symbol: "x-thin", size: 9, color: colourOfDevice, line: { width: 2, color: colourOfDevice } },
    }),
  ];
}

function hover(point) {
  const axes = DATA.axes.filter((axis) => axis !== "network");
  const lines = [point.network, ...axes.map((axis) => `${axisTitle(axis)}: ${word(point.axes[axis])}`)];
  const figures = DATA.figures.filter((figure) => point.figures[figure.name] !== null);
  lines.push("", ...figures.map((figure) => `${figure.title}: ${number(point.figures[figure.name], figure.digits)}`));
  if (point.status !== "ok") lines.push(`${point.status}: ${point.reason.slice(0, 80)}`);
  return lines.map(plain).join("<br>");
}

// One plot with the choice of its two axes.
class Plot {
  constructor(id, title, x, y, open) {
    this.x = this.select(`${title}, horizontal`, x);
    this.y = this.select(`${title}, vertical`, y);
    this.box = element("div", { class: "plot", id, role: "img", "aria-label": `${title}; the table has all figures` });
    this.figure = element("figure", {}, element("figcaption", {}, this.y, "against", this.x), this.box);
    this.open = open;
    this.listens = false;
  }

  select(label, chosen) {
    const options = DATA.figures.map((figure) =>
      element("option", { value: figure.name, selected: figure.name === chosen }, figure.title));
    return element("select", { "aria-label": label, change: () => this.draw(this.shown, this.current) }, ...options);
  }

  draw(points, current) {
    [this.shown, this.current] = [points, current];
    const [x, y] = [this.x.value, this.y.value].map((name) => DATA.figures.find((figure) => figure.name === name));
    const data = DEVICES.flatMap((device, position) =>
      traces(device, position, points.filter((point) => word(point.axes.device) === device), x, y));
    const placed = data.flatMap((trace) => trace.x.map((value, index) => [value, trace.y[index]]));
    const ring = points.filter((point) => point.index === current && data.some((trace) => trace.customdata.includes(current)));
    data.push({
      type: "scatter", mode: "markers", showlegend: false, hoverinfo: "skip", customdata: [],
      x: ring.map((point) => point.figures[x.name]), y: ring.map((point) => point.figures[y.name]),
      marker: { symbol: "circle-open", size: 20, color: colour("text"), line: { width: 2 } },
    });
    const empty = { text: "no point has both figures", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 };
    const layout = layoutOf({
      xaxis: { title: { text: plain(x.title) }, ...scaleOf(placed.map(([value]) => value)) },
      yaxis: { title: { text: plain(y.title) }, ...scaleOf(placed.map(([, value]) => value)) },
      hovermode: "closest", legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0 },
      annotations: placed.length ? [] : [empty],
    });
    Plotly.react(this.box, data, layout, CONFIG);
    if (!this.listens) this.box.on("plotly_click", (event) => this.open(event.points[0].customdata));
    this.listens = true;
  }
}
