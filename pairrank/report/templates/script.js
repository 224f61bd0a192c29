"use strict";
// A battle is shown if it contains every word of the search and has every chosen value.
for (const form of document.querySelectorAll("form[data-cards]")) {
  const battles = [...document.getElementById(form.dataset.cards).querySelectorAll(".battle")];
  // Search the battle's own text only: the page puts words such as "tie" and "prompt" around every battle.
  const searched = ".id, .excerpt, .text, .model";
  const texts = battles.map((battle) => [...battle.querySelectorAll(searched)].map((e) => e.textContent).join("\n").toLowerCase());
  const output = form.querySelector("output");
  const open = form.querySelector("[data-open]");
  const apply = () => {
    const words = form.querySelector("[data-filter=text]").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...form.querySelectorAll("select")].filter((select) => select.value);
    let shown = 0;
    battles.forEach((battle, i) => {
      const fits = words.every((word) => texts[i].includes(word))
        && chosen.every((select) => battle.dataset[`f${select.dataset.filter}`].split("|").includes(select.value));
      battle.hidden = !fits;
      shown += fits;
    });
    output.textContent = shown === battles.length ? `${shown} battles` : `${shown} of ${battles.length} battles`;
  };
  for (const event of ["input", "change"]) form.addEventListener(event, apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  open.addEventListener("click", () => {
    const opening = open.textContent === "Open all";
    for (const battle of battles) battle.open = opening && !battle.hidden;
    open.textContent = opening ? "Close all" : "Open all";
  });
}
// Open everything for printing, since folded parts cannot be opened on paper.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
// Tables: sort by a column, filter the rows, choose the columns.
const NUMBER = /^[+-]?\d/;
const valueOf = (row, column) => row.cells[column].textContent.trim().replaceAll("−", "-").replaceAll(",", "");
// Numbers before texts; what is unknown, a dash or nothing, comes last in both directions.
const compare = (a, b, sign) => {
  const unknown = (text) => text === "" || text === "–";
  if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
  const numbers = NUMBER.test(a) && NUMBER.test(b) ? parseFloat(a) - parseFloat(b) : 0;
  return sign * (numbers || a.localeCompare(b, "en", { numeric: true }));
};
const element = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const makeSortable = (table) => {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = element("button", { type: "button", title: "Sort" }, ...head.childNodes);
    if (head.title) button.title = "";
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "" }[head.ariaSort ?? ""] ?? "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const rows = [...original];
      if (next) rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
      body.append(...rows);
    });
  });
};
const makeFilter = (table, tools) => {
  const rows = [...table.tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const count = element("output", { textContent: `${rows.length} rows` });
  const input = element("input", { type: "search", placeholder: "words in a row" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, i) => { row.hidden = !words.every((word) => texts[i].includes(word)); });
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  });
  count.setAttribute("aria-live", "polite");
  tools.append(element("label", {}, "Filter ", input), count);
};
const makeColumnMenu = (table, tools) => {
  const heads = [...table.tHead.rows[0].cells];
  const boxes = element("fieldset", {}, element("legend", { textContent: "Columns to show" }));
  heads.slice(1).forEach((head, i) => {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      table.classList.remove("narrow");
      for (const row of table.rows) row.cells[i + 1].classList.toggle("hidden", !box.checked);
    });
    boxes.append(element("label", {}, box, ` ${head.textContent}`));
  });
  const all = element("button", { type: "button", textContent: "Show all columns" });
  all.addEventListener("click", () => {
    table.classList.remove("narrow");
    for (const box of boxes.querySelectorAll("input")) if (!box.checked) box.click();
  });
  boxes.append(all);
  table.classList.add("narrow");
  tools.append(element("details", { className: "columns" }, element("summary", { textContent: "Columns" }), boxes));
};
for (const table of document.querySelectorAll(".wide > table")) {
  const tools = element("div", { className: "tools" });
  if (table.tBodies[0].rows.length >= 8) makeFilter(table, tools);
  if (table.tHead.rows[0].cells.length >= 6) makeColumnMenu(table, tools);
  if (table.tBodies[0].rows.length > 1) makeSortable(table);
  if (tools.children.length) table.parentElement.before(tools);
}
// Charts and tables: the value under the pointer or the keyboard, and one run highlighted everywhere.
const runs = new Map();
const runOf = (part) => part.dataset.run ?? "";
const drawn = new Set([...document.querySelectorAll(".mark[data-run]")].map(runOf));
for (const row of document.querySelectorAll("tbody tr")) {
  if (drawn.has(row.cells[0].textContent)) row.dataset.run = row.cells[0].textContent;
}
for (const part of document.querySelectorAll("tr[data-run], .mark[data-run]")) {
  if (!runs.has(runOf(part))) runs.set(runOf(part), []);
  runs.get(runOf(part)).push(part);
}
const paint = (kind, run) => {
  for (const part of document.querySelectorAll(`.${kind}`)) part.classList.remove(kind);
  for (const part of runs.get(run) ?? []) part.classList.add(kind);
};
const tip = element("div", { className: "tip", hidden: true });
const pin = element("button", { type: "button", className: "pin", hidden: true });
tip.setAttribute("role", "status");
document.body.append(tip, pin);
let pinned = "";
const pinRun = (run) => {
  pinned = run === pinned ? "" : run;
  paint("pinned", pinned);
  pin.hidden = !pinned;
  pin.textContent = `Highlighted: ${pinned} ✕`;
};
pin.addEventListener("click", () => pinRun(""));
const showTip = (text, box) => {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  tip.style.left = `${Math.max(8, Math.min(box.x + box.width / 2 + 10, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${box.y > tip.offsetHeight + 16 ? box.y - tip.offsetHeight - 8 : box.bottom + 8}px`;
};
const show = (mark) => {
  for (const part of document.querySelectorAll(".mark.lit")) part.classList.remove("lit");
  paint("lit", mark ? runOf(mark) : "");
  if (mark) mark.classList.add("lit");
  showTip(mark?.getAttribute("aria-label"), mark?.getBoundingClientRect());
};
const distance = (box, x, y) => Math.hypot(Math.max(box.x - x, 0, x - box.right), Math.max(box.y - y, 0, y - box.bottom));
for (const svg of document.querySelectorAll(".chart svg")) {
  const marks = [...svg.querySelectorAll(".mark")];
  for (const mark of marks) {
    const title = mark.querySelector("title");
    mark.setAttribute("aria-label", title.textContent);
    title.remove(); // the tip replaces the browser's own
  }
  if (!marks.length) continue;
  let at = -1;
  svg.tabIndex = 0;
  svg.setAttribute("aria-label", `${svg.getAttribute("aria-label")} Arrow keys read the values.`);
  const nearest = (event) => {
    const far = marks.map((mark) => distance(mark.getBoundingClientRect(), event.clientX, event.clientY));
    const least = Math.min(...far);
    return least < 16 ? far.indexOf(least) : -1;
  };
  svg.addEventListener("pointermove", (event) => { at = nearest(event); show(marks[at]); });
  svg.addEventListener("pointerleave", () => show());
  svg.addEventListener("blur", () => show());
  svg.addEventListener("click", () => { if (at >= 0 && runOf(marks[at])) pinRun(runOf(marks[at])); });
  svg.addEventListener("keydown", (event) => {
    const last = marks.length - 1;
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (to !== undefined) at = Math.max(0, Math.min(last, to));
    else if (event.key !== "Enter" || at < 0) return;
    event.preventDefault();
    show(marks[at]);
    if (event.key === "Enter" && runOf(marks[at])) pinRun(runOf(marks[at]));
  });
}
addEventListener("keydown", (event) => { if (event.key === "Escape") { show(); if (pinned) pinRun(""); } });
// The definition of a column, under the pointer and, with the keyboard, while its header has the focus.
for (const head of document.querySelectorAll("th[title]")) {
  const text = head.title;
  const reached = head.querySelector("button") ?? head;
  reached.tabIndex = 0;
  reached.setAttribute("aria-describedby", head.getAttribute("aria-describedby"));
  head.removeAttribute("title"); // the tip replaces the browser's own
  const explain = () => showTip(text, head.getBoundingClientRect());
  for (const event of ["pointerenter", "focus"]) reached.addEventListener(event, explain);
  for (const event of ["pointerleave", "blur"]) reached.addEventListener(event, () => showTip());
}
for (const row of document.querySelectorAll("tr[data-run]")) {
  row.addEventListener("pointerenter", () => paint("lit", runOf(row)));
  row.addEventListener("pointerleave", () => paint("lit", ""));
}
// A link to a folded section opens it.
const openTarget = () => {
  const folded = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.querySelector("details.folded");
  if (folded) folded.open = true;
};
addEventListener("hashchange", openTarget);
openTarget();
