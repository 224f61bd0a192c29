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
