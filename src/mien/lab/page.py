"""A page of text, tables and figures, as Markdown and as HTML that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from mien.io import atomic_file

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #5b6570; --line: #d9dee3; --paper: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --dim: #9aa5b0; --line: #333b43; --paper: #14181c } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { margin-top: 2.5rem; font-size: 1.25rem }
.wide { overflow-x: auto; width: max-content; min-width: 100%; max-width: 96vw;
  position: relative; left: 50%; transform: translateX(-50%) }
table { border-collapse: collapse; margin: .3rem 0 1rem; font-variant-numeric: tabular-nums }
.caption, figcaption { color: var(--dim); padding: .3rem 0; font-size: .92rem; margin: 1rem 0 0 }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
td:first-child { min-width: 11rem } td:not(:first-child) { white-space: nowrap }
td.words { text-align: left; white-space: normal; min-width: 16rem; max-width: 40rem }
th button { all: unset; cursor: pointer; white-space: nowrap }
th button:hover, th button:focus-visible { text-decoration: underline }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
figure { margin: 1.2rem 0 } figure img { max-width: 100%; background: #fff; border-radius: 4px }
"""


WORDS = 30
"""Letters beyond which a cell is text, to be set in lines."""

SORTING = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const up = head.ariaSort === "descending" || (head.ariaSort !== "ascending" && column === 0);
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = up ? "ascending" : "descending";
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => {
      const x = value(a), y = value(b);
      if (x === "–" || y === "–") return (x === "–") - (y === "–");  // nothing comes last
      const way = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? way : -way;
    };
    body.append(...[...body.rows].sort(order));
  }));
}
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of text or numbers, under a caption."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, the name of its files, and what it shows."""

    name: str
    caption: str
    figure: Figure


@dataclass(slots=True)
class Page:
    """A title, and blocks in the order in which they are read: text, `# headings`, and the rest."""

    title: str
    blocks: list[str | Table | Picture] = field(default_factory=list)

    def add(self, *blocks: str | Table | Picture) -> None:
        """Put blocks at the end."""
        self.blocks.extend(blocks)


def write(page: Page, folder: Path, name: str = "report") -> Path:
    """Write `name.md`, `name.html`, and each figure as PNG and SVG in `figures/`; the HTML file."""
    images = {picture.name: drawn(picture.figure, ".png") for picture in pictures(page)}
    for picture in pictures(page):
        files = {".png": images[picture.name], ".svg": drawn(picture.figure, ".svg")}
        for suffix, content in files.items():
            with atomic_file.writing(folder / "figures" / (picture.name + suffix)) as temporary:
                temporary.write_bytes(content)
    for suffix, text in ((".md", markdown(page)), (".html", html(page, images))):
        with atomic_file.writing(folder / (name + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / f"{name}.html"


def pictures(page: Page) -> list[Picture]:
    """The figures of a page."""
    return [block for block in page.blocks if isinstance(block, Picture)]


def drawn(figure: Figure, suffix: str) -> bytes:
    """A figure as the bytes of a file with that suffix, the same each time."""
    file = io.BytesIO()
    undated = {".svg": {"Date": None}}.get(suffix)
    with matplotlib.rc_context({"svg.hashsalt": "mien"}):
        figure.savefig(file, format=suffix[1:], dpi=150, metadata=undated)
    return file.getvalue()


def markdown(page: Page) -> str:
    """The page as GitHub's Markdown; figures are links into `figures/`."""
    return "\n\n".join([f"# {page.title}", *map(_as_markdown, page.blocks)]) + "\n"


def html(page: Page, images: dict[str, bytes]) -> str:
    """The page as HTML with everything inside; images: PNG by the name of the figure."""
    body = "\n".join(_as_html(block, images) for block in page.blocks)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(page.title)}</h1>\n{body}\n<script>{SORTING}</script>\n"
        "</body>\n</html>\n"
    )


def table_markdown(table: Table) -> str:
    """A table as Markdown, its numbers to the right."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    words = [any(isinstance(cell, str) and len(cell) > WORDS for cell in c) for c in columns]
    sides = ("---" if k == 0 or text else "---:" for k, text in enumerate(words))
    lines = [_line(table.columns), _line(list(sides))]
    return "\n".join(lines + [_line([shown(cell) for cell in row]) for row in table.rows])


def shown(cell: object) -> str:
    """A cell as people read it: fractions to three places, thousands apart, a dash for nothing."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _as_markdown(block: str | Table | Picture) -> str:
    if isinstance(block, str):
        return "#" + block if block.startswith("# ") else block
    if isinstance(block, Table):
        return f"{block.caption}\n\n{table_markdown(block)}"
    return f"![{block.caption}](figures/{block.name}.png)\n\n{block.caption}"


def _as_html(block: str | Table | Picture, images: dict[str, bytes]) -> str:
    if isinstance(block, str):
        if block.startswith("# "):
            return f"<h2>{escape(block[2:])}</h2>"
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Table):
        heads = (f'<button type="button">{escape(name)}</button>' for name in block.columns)
        head = "".join(f'<th scope="col">{button}</th>' for button in heads)
        rows = ("".join(map(_cell, row)) for row in block.rows)
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f'<p class="caption">{escape(block.caption)}</p>\n<div class="wide"><table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
        )
    data = base64.b64encode(images[block.name]).decode()
    caption = escape(block.caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _cell(cell: object) -> str:
    number = isinstance(cell, int | float) and not isinstance(cell, bool)
    value = f' data-value="{cell}"' if number else ""
    if isinstance(cell, str) and len(cell) > WORDS:
        value = ' class="words"'
    return f"<td{value}>{escape(shown(cell))}</td>"
