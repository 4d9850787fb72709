// Filters: of each axis with several values, which of them are shown; and what came of points.

class Filters {
  constructor(section, points, changed) {
    this.axes = DATA.axes
      .map((axis) => ({ title: axisTitle(axis), of: (point) => word(point.axes[axis]) }))
      .concat({ title: "status", of: (point) => point.status })
      .map((axis) => ({ ...axis, values: [...new Set(points.map(axis.of))].sort((a, b) => ordered(a, b, 1)) }));
    this.chosen = this.axes.filter((axis) => axis.values.length > 1);
    for (const axis of this.chosen) {
      axis.boxes = axis.values.map((value) => element("input", { type: "checkbox", value, checked: true, change: changed }));
      const labels = axis.boxes.map((box) => element("label", {}, box, box.value));
      section.append(element("fieldset", {}, element("legend", {}, axis.title), element("div", { class: "values" }, ...labels)));
    }
    const all = () => {
      for (const box of this.chosen.flatMap((axis) => axis.boxes)) box.checked = true;
      changed();
    };
    if (this.chosen.length) section.append(element("button", { class: "plain", type: "button", click: all }, "Show all"));
  }

  // Axes that have one value in all points, as a sentence.
  get same() {
    return this.axes.filter((axis) => axis.values.length === 1).map((axis) => `${axis.title} ${axis.values[0]}`).join(", ");
  }

  apply(points) {
    const shown = this.chosen.map((axis) => new Set(axis.boxes.filter((box) => box.checked).map((box) => box.value)));
    return points.filter((point) => this.chosen.every((axis, index) => shown[index].has(axis.of(point))));
  }
}
