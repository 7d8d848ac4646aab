"""Generated tables in README and docs: their markers, their sources and their formats."""

import re

import pytest

from benchmarks import tables
from benchmarks.published_tables import formats
from tests.paths import ROOT


def test_the_pages_contain_exactly_the_generated_tables():
    in_pages = {}
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        if names := re.findall(r"<!-- begin: (\w+) -->", path.read_text(encoding="utf-8")):
            in_pages[path.relative_to(ROOT).as_posix()] = names
    expected = {page: [f.__name__ for f in functions] for page, functions in tables.TABLES.items()}
    assert in_pages == expected


@pytest.mark.parametrize("page", tables.TABLES)
def test_each_table_names_its_page_and_results(page):
    for table in tables.TABLES[page]:
        assert page in table.__doc__, table.__name__
        patterns = re.findall(r"[ /]([\w*-]+\.json)", table.__doc__)
        assert patterns, table.__name__
        for pattern in patterns:
            assert list((ROOT / "results").glob(pattern)), (table.__name__, pattern)


def test_only_the_named_table_is_replaced():
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n<!-- begin: y -->\nz\n<!-- end: y -->\n"
    assert tables.replace_table(text, "x", "new") == text.replace("old", "new")
    for damaged in (text.replace("<!-- end: x -->", ""), text + text, ""):
        with pytest.raises(ValueError, match="comment of x"):
            tables.replace_table(damaged, "x", "new")


def test_numbers_and_tables_are_formatted():
    score = {"value": 0.617, "low": 0.601, "high": 0.633}
    assert formats.percent_with_interval(score) == "61.7 % (60.1 to 63.3)"
    assert formats.with_interval(score, 1, 100, "+") == "+61.7 (+60.1 to +63.3)"
    assert formats.percent(0.617) == "62 %"
    assert formats.millions(20_040_000) == "20.04 M"
    assert formats.markdown_table(("a", "b"), [("x", 1)]) == "| a | b |\n|---|---:|\n| x | 1 |"
