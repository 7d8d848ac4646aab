// A click on a table's heading sorts the table by that column.

"use strict";

/** @type {(a: string, b: string) => number} */
function compared(a, b) {
  const way = Number(a) - Number(b);
  return Number.isNaN(way) ? a.localeCompare(b) : way;
}

/** @type {(table: HTMLTableElement, heads: HTMLTableCellElement[], column: number) => void} */
function sort(table, heads, column) {
  const head = heads[column], [body] = table.tBodies;
  const up = head.ariaSort === "descending" || (head.ariaSort !== "ascending" && column === 0);
  for (const other of heads) other.removeAttribute("aria-sort");
  head.ariaSort = up ? "ascending" : "descending";
  const rows = [...body.rows].map((row) => {
    const { dataset, textContent } = row.cells[column];
    return { row, value: dataset.value ?? textContent ?? "" };
  });
  const isEmpty = (/** @type {string} */ value) => Number(value === "–");  // nothing comes last
  rows.sort((a, b) => isEmpty(a.value) - isEmpty(b.value)
    || (up ? compared(a.value, b.value) : compared(b.value, a.value)));
  body.append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("th")];
  for (const [column, head] of heads.entries()) {
    head.querySelector("button")?.addEventListener("click", () => sort(table, heads, column));
  }
}
