// Elements and numbers. Texts of the data go into the page as text nodes, never as markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

// Plotly takes some markup in its texts (<b>, <a href>): this is what shows a text as it is.
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function number(value, digits = 0) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// A value of an axis, as it is shown and as it is compared.
function word(value) {
  return value === null || value === undefined ? "–" : String(value);
}

function axisTitle(name) {
  return name.replaceAll("_", " ");
}

// Missing values come last, whichever way is sorted.
function ordered(first, second, direction) {
  const missing = (value) => value === null || value === undefined || value === "";
  if (missing(first) || missing(second)) return missing(first) - missing(second);
  if (typeof first === "number" && typeof second === "number") return direction * (first - second);
  return direction * String(first).localeCompare(String(second), "en", { numeric: true });
}

// A table without sorting: columns are [title, key, digits]; without digits they are texts.
function smallTable(caption, columns, rows) {
  const kind = (digits) => (digits === undefined ? "" : "number");
  const head = columns.map(([title, , digits]) => element("th", { scope: "col", class: kind(digits) }, title));
  const lines = rows.map((row) =>
    element("tr", {}, ...columns.map(([, key, digits]) =>
      element("td", { class: kind(digits) }, digits === undefined ? word(row[key]) : number(row[key], digits)))));
  const table = element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}
