"""A page of text, tables and figures, as Markdown and as HTML that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from mien.io import atomic_file

WORDS = 30
"""Letters beyond which a cell is text, to be set in lines."""


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
            with atomic_file.atomic_write(
                folder / "figures" / (picture.name + suffix)
            ) as temporary:
                temporary.write_bytes(content)
    for suffix, text in ((".md", markdown(page)), (".html", html(page, images))):
        with atomic_file.atomic_write(folder / (name + suffix)) as temporary:
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
    files = FileSystemLoader(Path(__file__).parent)
    pages = Environment(loader=files, autoescape=True, trim_blocks=True, undefined=StrictUndefined)
    pages.filters["shown"] = shown
    inside = {name: base64.b64encode(image).decode() for name, image in images.items()}
    return pages.get_template("_page.html").render(page=page, images=inside, WORDS=WORDS) + "\n"


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
