"""Write pages of text, tables and figures as Markdown and as self-contained HTML."""

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

MAX_UNWRAPPED_CHARACTERS = 30
"""In HTML, text cells with more characters are wrapped and left-aligned.

In Markdown, columns with such cells are left-aligned."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text and numbers, with a caption above it."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class FigureBlock:
    """A figure with a caption; `name` is the name of its files without suffix."""

    name: str
    caption: str
    figure: Figure


@dataclass(slots=True)
class Page:
    """A title and blocks in reading order: text, headings (`# ...`), tables and figures."""

    title: str
    blocks: list[str | Table | FigureBlock] = field(default_factory=list)

    def add(self, *blocks: str | Table | FigureBlock) -> None:
        """Append blocks."""
        self.blocks.extend(blocks)


def write(page: Page, folder: Path, name: str = "report") -> Path:
    """Write `NAME.md`, `NAME.html` and `figures/`, and return the path of the HTML file.

    Args:
        page: The page.
        folder: The folder to write to; created if needed.
        name: Name of both files without suffix.
    """
    images = {block.name: render(block.figure, ".png") for block in figures(page)}
    for block in figures(page):
        files = {".png": images[block.name], ".svg": render(block.figure, ".svg")}
        for suffix, content in files.items():
            with atomic_file.atomic_write(folder / "figures" / (block.name + suffix)) as temporary:
                temporary.write_bytes(content)
    for suffix, text in ((".md", markdown(page)), (".html", html(page, images))):
        with atomic_file.atomic_write(folder / (name + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / f"{name}.html"


def figures(page: Page) -> list[FigureBlock]:
    """Return the figures of a page."""
    return [block for block in page.blocks if isinstance(block, FigureBlock)]


def render(figure: Figure, suffix: str) -> bytes:
    """Render a figure as the bytes of a `.png` or `.svg` file, which are reproducible."""
    file = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else None  # without the date, it is reproducible
    with matplotlib.rc_context({"svg.hashsalt": "mien"}):
        figure.savefig(file, format=suffix[1:], dpi=150, metadata=metadata)
    return file.getvalue()


def markdown(page: Page) -> str:
    """Convert a page to GitHub-flavored Markdown that shows the images in `figures/`."""
    return "\n\n".join([f"# {page.title}", *map(_as_markdown, page.blocks)]) + "\n"


def html(page: Page, images: dict[str, bytes]) -> str:
    """Convert a page to self-contained HTML; `images` maps figure names to PNG bytes."""
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(
        loader=loader, autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    templates.filters["cell_text"] = cell_text
    encoded = {name: base64.b64encode(image).decode() for name, image in images.items()}
    template = templates.get_template("_page.html")
    return (
        template.render(
            page=page, images=encoded, max_unwrapped_characters=MAX_UNWRAPPED_CHARACTERS
        )
        + "\n"
    )


def table_markdown(table: Table) -> str:
    """Convert a table to Markdown.

    The first column and columns with long text are left-aligned, all others right-aligned.
    """
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    has_long_text = [
        any(isinstance(cell, str) and len(cell) > MAX_UNWRAPPED_CHARACTERS for cell in column)
        for column in columns
    ]
    alignment = ("---" if k == 0 or is_long else "---:" for k, is_long in enumerate(has_long_text))
    header = [_line(table.columns), _line(list(alignment))]
    return "\n".join(header + [_line([cell_text(cell) for cell in row]) for row in table.rows])


def cell_text(cell: object) -> str:
    """Format a cell.

    Floats get three decimal places and integers thousands separators. A boolean becomes "yes" or
    "no", and None a dash.
    """
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _as_markdown(block: str | Table | FigureBlock) -> str:
    if isinstance(block, str):
        return "#" + block if block.startswith("# ") else block
    if isinstance(block, Table):
        return f"{block.caption}\n\n{table_markdown(block)}"
    return f"![{block.caption}](figures/{block.name}.png)\n\n{block.caption}"
