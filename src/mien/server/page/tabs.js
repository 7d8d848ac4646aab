// Tabs: arrows go round, Home and End to the ends; one is open.

import { $, say } from "./elements.js";

const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[role=tab]"))];

/** @param {HTMLElement} tab */
export function open(tab) {
  if (tab.getAttribute("aria-selected") === "true") return;
  for (const other of tabs) {
    const isChosen = other === tab;
    other.setAttribute("aria-selected", `${isChosen}`);
    other.tabIndex = isChosen ? 0 : -1;
    $(`${other.getAttribute("aria-controls")}`).hidden = !isChosen;
  }
  say("");
  document.dispatchEvent(new Event("tab"));
}

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    /** @type {Record<string, number>} */
    const places = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1,
      Home: 0, End: last };
    const next = places[event.key];
    if (next === undefined) return;
    event.preventDefault();
    open(tabs[next]);
    tabs[next].focus();
  });
}
