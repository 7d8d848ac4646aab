// Sort a table by the column whose header is clicked.

"use strict";

const EMPTY = "–";

/** @type {(a: string, b: string) => number} */
function compare(a, b) {
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? a.localeCompare(b) : difference;
}

/**
 * Sort the first column in ascending order and others in descending order, or reverse the order.
 * @type {(table: HTMLTableElement, headers: HTMLTableCellElement[], column: number) => void}
 */
function sortTable(table, headers, column) {
  const header = headers[column], [body] = table.tBodies;
  const isAscending = header.ariaSort === "descending" || (header.ariaSort !== "ascending" && column === 0);
  for (const other of headers) other.removeAttribute("aria-sort");
  header.ariaSort = isAscending ? "ascending" : "descending";
  const rows = [...body.rows].map((row) => {
    const { dataset, textContent } = row.cells[column];
    return { row, value: dataset.value ?? textContent ?? "" };
  });
  const isEmpty = (/** @type {string} */ value) => Number(value === EMPTY);  // empty cells are last
  rows.sort((a, b) => isEmpty(a.value) - isEmpty(b.value)
    || (isAscending ? compare(a.value, b.value) : compare(b.value, a.value)));
  body.append(...rows.map(({ row }) => row));
}

for (const table of document.querySelectorAll("table")) {
  const headers = [...table.querySelectorAll("th")];
  for (const [column, header] of headers.entries()) {
    header.querySelector("button")?.addEventListener("click", () => sortTable(table, headers, column));
  }
}
