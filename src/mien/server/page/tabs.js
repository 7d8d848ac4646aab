// Tabs, which can also be selected with the arrow keys (cyclically), Home and End.

import { $, clearMessages } from "./dom.js";

const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[role=tab]"))];

/**
 * Open a tab, and dispatch the event `tabchange` if another one was open.
 * @param {HTMLElement} tab
 */
export function openTab(tab) {
  if (tab.getAttribute("aria-selected") === "true") return;
  for (const other of tabs) {
    const isSelected = other === tab;
    other.setAttribute("aria-selected", `${isSelected}`);
    other.tabIndex = isSelected ? 0 : -1;
    $(`${other.getAttribute("aria-controls")}`).hidden = !isSelected;
  }
  clearMessages();
  document.dispatchEvent(new Event("tabchange"));
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", (event) => {
    const last = tabs.length - 1;
    /** @type {Record<string, number>} */
    const targets = { ArrowRight: index === last ? 0 : index + 1, ArrowLeft: index === 0 ? last : index - 1,
      Home: 0, End: last };
    const target = targets[event.key];
    if (target === undefined) return;
    event.preventDefault();
    openTab(tabs[target]);
    tabs[target].focus();
  });
}
