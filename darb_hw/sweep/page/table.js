// The table of all points. A click on the title of a column sorts by it, a second one the other way.

const MOST_ROWS = 2000;

class Table {
  constructor(table, left, columns, open) {
    [this.left, this.columns, this.open] = [left, columns, open];
    [this.column, this.direction] = [null, 1];
    this.heads = columns.map((column) => element("th", { scope: "col", class: column.digits === undefined ? "" : "number" },
      element("button", { type: "button", click: () => this.sort(column) }, column.title)));
    this.body = element("tbody");
    table.replaceChildren(element("thead", {}, element("tr", {}, ...this.heads)), this.body);
  }

  sort(column) {
    this.direction = this.column === column ? -this.direction : 1;
    this.column = column;
    this.draw(this.points, this.current);
  }

  draw(points, current) {
    [this.points, this.current] = [points, current];
    this.columns.forEach((column, index) => {
      const direction = this.direction > 0 ? "ascending" : "descending";
      this.heads[index].setAttribute("aria-sort", column === this.column ? direction : "none");
      this.heads[index].firstChild.textContent = column.title + (column === this.column ? (this.direction > 0 ? " ▲" : " ▼") : "");
    });
    const sorted = [...points];
    if (this.column) sorted.sort((a, b) => ordered(this.column.of(a), this.column.of(b), this.direction));
    this.body.replaceChildren(...sorted.slice(0, MOST_ROWS).map((point) => this.row(point, current)));
    const more = sorted.length - MOST_ROWS;
    this.left.textContent = more > 0 ? `${number(more)} more points are not listed: filter them.` : "";
  }

  row(point, current) {
    // A point that was not built has no figures at the end of its line: there is room for the reason.
    const known = this.columns.findLastIndex((column) => column.of(point) !== null) + 1;
    const columns = point.status === "ok" ? this.columns : this.columns.slice(0, known);
    const cells = columns.map((column, index) => {
      const value = column.of(point);
      const text = column.digits === undefined ? word(value) : number(value, column.digits);
      const name = index === 0 ? element("button", { type: "button" }, text) : text;
      return element("td", { class: column.digits === undefined ? "" : "number" }, name);
    });
    if (point.status !== "ok") cells.push(element("td", { class: `reason ${point.status}`, colspan: this.columns.length - known }, point.reason));
    // Enter and space on the button of the first cell are clicks, which the row hears too.
    return element("tr", {
      "data-index": point.index, "aria-current": point.index === current ? "true" : undefined,
      click: () => this.open(point.index),
    }, ...cells);
  }
}
