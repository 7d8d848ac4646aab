"""The paper's tables and figures, made again from real runs: what each shows, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mien.lab import claims, data, evaluate, figures, recipe, report, tables, train
from mien.lab.page import Page, Picture, Table
from mien.lab.recipe import Recipe
from mien.lab.runs import Run
from mien.lab.trials import Watcher
from mien.shelf import unknown

Blocks = list[str | Table | Picture]

SYSTEMS = {"vgg19": ("random10", 25), "sequential": ("official", 50), "hybrid": ("official", 100)}
"""The paper's three, with the protocol and the epochs of their tables. Which faces judged the
hybrid is not said there: here the official ones do."""

SLIM = {"vgg19": "vgg19-slim", "sequential": "sequential-slim", "hybrid": "hybrid-slim"}


def exhibit(name: str, root: Path, done: dict[str, Run]) -> Blocks:
    """The table or figure by that name, from the finished runs of the systems it needs."""
    if name == "fig1":
        return [report.sample_sheet(data.split(data.load(root), "train"))]
    if name == "table5":
        return table5(done)
    ((_, run),) = done.items()
    if name in ("table1", "table3"):
        return [tables.training([run])]
    if name in ("table2", "table4"):
        return [tables.by_class(run, "labels")]
    if name in ("fig4", "fig7"):
        return [*report.confusions(run)]
    accuracy, loss = report.curves(run)
    return [accuracy if name in ("fig2", "fig5", "fig8") else loss]


NEEDS: dict[str, tuple[str, ...]] = {
    "table1": ("vgg19",), "table2": ("vgg19",), "table3": ("sequential",),
    "table4": ("sequential",), "table5": tuple(SYSTEMS),
    "fig1": (), "fig2": ("vgg19",), "fig3": ("vgg19",), "fig4": ("vgg19",),
    "fig5": ("sequential",), "fig6": ("sequential",), "fig7": ("sequential",),
    "fig8": ("hybrid",), "fig9": ("hybrid",),
}  # fmt: skip
"""Exhibit -> the systems that must have been trained."""


def reproduce(
    names: Iterable[str],
    root: Path,
    out: Path,
    watch: Watcher,
    *,
    variant: str = "common",
    changes: Iterable[str] = (),
) -> Page:
    """The exhibits by these names ("all" for every one), as a page; trains what is missing.

    Runs lie in `out/SYSTEM` and are used again. variant: "common" (mien's recipe), "paper" (the
    authors' settings, as far as known) or "slim" (the small networks). changes: of every recipe.
    Raises `UserError` for an unknown exhibit or variant.
    """
    wanted = _named(names)
    needed = {system for name in wanted for system in NEEDS[name]}
    done = {
        system: run(settings(system, variant, changes), root, out / system, watch)
        for system in SYSTEMS
        if system in needed
    }
    page = Page(f"{claims.PAPER}, made again")
    for name in wanted:
        kind, number = name[:-1], name[-1]
        page.add(f"# {kind.replace('fig', 'figure').title()} {number}")
        mine = {system: done[system] for system in NEEDS[name]}
        page.add(*(tables.summary(r, tables.measured(r)) for r in mine.values()))
        page.add(*exhibit(name, root, mine))
    return page


def settings(system: str, variant: str, changes: Iterable[str] = ()) -> Recipe:
    """The recipe by which a system is trained to stand beside the paper."""
    protocol, epochs = SYSTEMS[system]
    ours = replace(recipe.RECIPES[system], protocol=protocol, epochs=epochs)
    variants = {
        "common": ours,
        "slim": replace(ours, model=SLIM[system]),
        "paper": recipe.RECIPES[f"{system}-paper"],
    }
    if variant not in variants:
        raise unknown("variant", variant, variants)
    return recipe.changed(variants[variant], changes)


def run(wanted: Recipe, root: Path, out: Path, watch: Watcher) -> Run:
    """The finished and measured run of a recipe in `out`, trained if it is not there yet."""
    found = train.fit(wanted, root, out, watch=watch(out.name, wanted))
    if not found.metrics_file.exists():
        evaluate.evaluate(found.folder, root)
    return found


def table5(done: dict[str, Run]) -> Blocks:
    """The paper's Table V: systems and the accuracy printed for each, and what is measured here."""
    rows: list[tuple] = [
        (rival.name, rival.claimed, None, None, None) for rival in claims.RIVALS.values()
    ]
    for system, found in done.items():
        accuracy = tables.measured(found)["heads"]["labels"]["fer2013"]["accuracy"]
        printed = claims.TRAINING[system]["val_accuracy"]
        rows.append((f"{claims.PAPER}, {system}", printed, *accuracy.values()))
    table = Table(
        "Accuracy on FER2013: printed, each by a protocol of its authors' own, and measured here. "
        "For the hybrid the paper's table prints 0.96, which is its training accuracy; its "
        "validation accuracy stands here.",
        ("system", "printed", "measured", "low", "high"),
        rows,
    )
    return [table, Picture("table5", "Printed and measured.", figures.comparison(rows))]


def _named(names: Iterable[str]) -> list[str]:
    wanted = list(names)
    if "all" in wanted:
        return list(NEEDS)
    for name in wanted:
        if name not in NEEDS:
            raise unknown("table or figure", name, [*NEEDS, "all"])
    return wanted
