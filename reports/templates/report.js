"use strict";
// Tables: sort, filter, page, download. Pictures: drawn once; their colours are custom properties, so the scheme may change under them.
// The whole file stands inside one function together with the chart library, whose short global names would otherwise meet the page's.

const SEVERITY = ["fail", "error", "inconclusive", "marginal", "pass", "not applicable"];

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function numberText(value) {
  if (typeof value !== "number") return String(value);
  let text = Number.isInteger(value) || Math.abs(value) >= 1e6 ? value.toFixed(0) : String(Number(value.toPrecision(6)));
  if (text.includes("e")) return text;
  const sign = text.startsWith("-") ? "\u2212" : "";
  const [whole, part] = text.replace("-", "").split(".");
  return sign + whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (part === undefined ? "" : "." + part);
}

function cellText(value) {
  if (value === null) return "–";
  if (value === true || value === false) return value ? "yes" : "no";
  return numberText(value);
}

function csvText(fields, rows) {
  const quoted = (value) => {
    const text = value === null ? "" : String(value);
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  };
  return [fields.map((field) => field.label), ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
}

function compare(kind) {
  const natural = new Intl.Collator("en", { numeric: true });
  return (one, other) => {
    if (one === null || other === null) return (one === null) - (other === null);
    if (kind === "number") return Number(one) - Number(other);
    if (kind === "verdict") return SEVERITY.indexOf(one) - SEVERITY.indexOf(other);
    return natural.compare(one, other);
  };
}

class Grid {
  constructor(root) {
    this.root = root;
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    this.fields = data.fields;
    this.rows = data.rows;
    this.size = Number(root.dataset.rowsInPage);
    this.page = 0;
    this.sorted = { column: -1, down: false };
    this.words = "";
    this.chosen = new Map();
    this.texts = null;
    this.body = root.querySelector("tbody");
    this.headings();
    if (this.rows.length > 8) this.tools();
    this.pager();
    this.apply(true);
  }

  headings() {
    this.root.querySelectorAll("thead th").forEach((heading, column) => {
      const button = element("button", { type: "button", text: heading.textContent });
      button.addEventListener("click", () => this.sort(column));
      heading.replaceChildren(button);
    });
  }

  tools() {
    const tools = this.root.querySelector(".tools");
    const find = element("input", { type: "search", placeholder: "words in any column" });
    find.addEventListener("input", () => { this.words = find.value.trim().toLowerCase(); this.apply(); });
    tools.append(element("label", {}, "Find", find));
    this.selects = new Map();
    this.fields.forEach((field, column) => {
      if (field.kind !== "verdict" && !["scenario", "run", "measured", "unit"].includes(field.label)) return;
      const values = [...new Set(this.rows.map((row) => row[column]))].sort(compare(field.kind));
      if (values.length < 2 || values.length > 400) return;
      const select = element("select", {}, element("option", { value: "", text: "all" }));
      values.forEach((value) => select.append(element("option", { value: String(value), text: cellText(value) })));
      select.addEventListener("change", () => { this.chosen.set(column, select.value); this.apply(); });
      this.selects.set(column, select);
      tools.append(element("label", {}, field.label, select));
    });
    tools.hidden = false;
  }

  pager() {
    this.count = this.root.querySelector(".pager .count");
    const get = this.root.querySelector(".pager .get");
    const save = element("button", { type: "button", class: "plain", text: "Save these rows as CSV" });
    save.addEventListener("click", () => {
      const link = element("a", { download: this.root.id + ".csv" });
      link.href = URL.createObjectURL(new Blob([csvText(this.fields, this.found)], { type: "text/csv" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    get.prepend(save);
    if (this.rows.length <= this.size) return;
    const turn = (text, by) => {
      const button = element("button", { type: "button", class: "plain", text });
      button.addEventListener("click", () => { this.page += by; this.show(); });
      return button;
    };
    this.previous = turn("Previous", -1);
    this.next = turn("Next", 1);
    this.count.before(element("span", { class: "turn" }, this.previous, this.next));
    this.count.parentElement.style.justifyContent = "flex-start";
  }

  choose(label, value) {
    const column = this.fields.findIndex((field) => field.label === label);
    const select = this.selects && this.selects.get(column);
    if (!select || ![...select.options].some((option) => option.value === value)) return;
    select.value = value;
    this.chosen.set(column, value);
    this.apply();
  }

  sort(column) {
    this.sorted = { column, down: this.sorted.column === column && !this.sorted.down };
    this.root.querySelectorAll("thead th").forEach((heading, place) => {
      if (place === column) heading.setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    this.apply();
  }

  matches(row, place) {
    for (const [column, value] of this.chosen) if (value !== "" && String(row[column]) !== value) return false;
    if (this.words === "") return true;
    this.texts = this.texts || this.rows.map((cells) => cells.map(cellText).join(" ").toLowerCase());
    return this.words.split(/\s+/).every((word) => this.texts[place].includes(word));
  }

  apply(first) {
    this.found = this.rows.filter((row, place) => this.matches(row, place));
    const { column, down } = this.sorted;
    if (column >= 0) {
      const order = compare(this.fields[column].kind);
      // A missing value stays at the end, whichever way the rest is sorted.
      this.found.sort((one, other) => (down && one[column] !== null && other[column] !== null ? -1 : 1) * order(one[column], other[column]));
    }
    this.page = 0;
    // What stands in the document already is what the first page shows.
    this.show(first === true);
  }

  show(keep) {
    const pages = Math.max(1, Math.ceil(this.found.length / this.size));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const from = this.page * this.size;
    const shown = this.found.slice(from, from + this.size);
    if (!keep) this.body.replaceChildren(...shown.map((row) => this.line(row)));
    if (this.previous) {
      this.previous.disabled = this.page === 0;
      this.next.disabled = this.page === pages - 1;
    }
    const all = this.found.length === this.rows.length ? "" : ` (${this.rows.length} in all)`;
    this.count.textContent = shown.length ? `rows ${from + 1}–${from + shown.length} of ${this.found.length}${all}` : `no row matches${all}`;
  }

  line(row) {
    return element("tr", {}, ...row.map((value, column) => {
      const kind = this.fields[column].kind;
      if (kind !== "verdict" || !value) return element("td", { class: "k-" + kind, text: cellText(value) });
      const word = element("span", { class: "verdict v-" + value.replaceAll(" ", "-"), text: value });
      return element("td", { class: "k-verdict" }, word);
    }));
  }
}

const grids = new Map();
document.querySelectorAll(".grid").forEach((root) => {
  if (root.querySelector("table")) grids.set(root.id, new Grid(root));
});

document.querySelectorAll("[data-verdict]").forEach((tile) => tile.addEventListener("click", () => {
  const grid = grids.get("verdict-table");
  if (grid) grid.choose("verdict", tile.dataset.verdict);
}));

// Of several pictures of one kind the screen shows the chosen one; paper, and a page without a script, show all.
document.querySelectorAll(".choice").forEach((choice) => {
  const options = [...choice.querySelectorAll(".option")];
  if (options.length < 2) return;
  const select = element("select", {}, ...options.map((one, place) => element("option", { value: String(place), text: one.dataset.name || "no stack" })));
  const show = () => options.forEach((one, place) => one.classList.toggle("current", place === Number(select.value)));
  select.addEventListener("change", show);
  choice.prepend(element("label", { class: "choose" }, element("span", { text: choice.dataset.label }), select));
  choice.classList.add("chosen");
  show();
});

// Paper has no second page to turn to: print every row that was found, within reason.
const PRINTED_ROWS = 5000;
addEventListener("beforeprint", () => grids.forEach((grid) => {
  if (grid.found.length > grid.size) { grid.screenSize = grid.size; grid.size = PRINTED_ROWS; grid.show(); }
}));
addEventListener("afterprint", () => grids.forEach((grid) => {
  if (grid.screenSize) { grid.size = grid.screenSize; grid.screenSize = 0; grid.show(); }
}));

const tip = element("div", { id: "tip", hidden: "", "aria-hidden": "true" });
document.body.append(tip);

function showTip(handler, event, item, value) {
  if (value === null || value === undefined || value === "") { tip.hidden = true; return; }
  tip.replaceChildren(...Object.entries(value).map(([key, inner]) =>
    element("div", {}, element("span", { text: key }), element("span", { text: cellText(inner) }))));
  tip.hidden = false;
  const room = document.documentElement.clientWidth;
  const left = Math.max(4, Math.min(event.pageX + 14, scrollX + room - tip.offsetWidth - 8));
  tip.style.left = left + "px";
  tip.style.top = event.pageY + 14 + "px";
}

// Each entry of a legend becomes a button that hides its series, or shows it again.
function switches(legend, view) {
  const hidden = new Set();
  view.logLevel(1);  // while marks go, an axis without any is warned of, and drawn again at once
  legend.querySelectorAll("li").forEach((entry) => {
    const button = element("button", { type: "button", "aria-pressed": "true" }, ...entry.childNodes);
    button.addEventListener("click", () => {
      const series = entry.dataset.series;
      if (!hidden.delete(series)) hidden.add(series);
      button.setAttribute("aria-pressed", String(!hidden.has(series)));
      view.signal("hidden", [...hidden]).runAsync();
    });
    entry.replaceChildren(button);
  });
}

const drawing = [...document.querySelectorAll("script.specification")].map((script) => {
  const place = script.parentElement.querySelector(".picture");
  const legend = script.parentElement.querySelector(".legend");
  return window.vegaEmbed(place, JSON.parse(script.textContent), {
    renderer: "svg", actions: false, ast: true, tooltip: showTip, defaultStyle: false, mode: "vega-lite",
  }).then((drawn) => { if (legend) switches(legend, drawn.view); }).catch((cause) => {
    place.classList.add("broken");
    place.textContent = "This picture could not be drawn (" + cause.message + "). Its numbers are in the table below.";
    console.error(cause);
  });
});
Promise.all(drawing).then(() => { document.documentElement.dataset.drawn = String(drawing.length); });
