"""The paper's tables and figures, made again from real runs: what each shows, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mien.errors import UserError
from mien.lab import (
    claims,
    config,
    data,
    evaluate,
    figures,
    models,
    report,
    report_faces,
    tables,
    train,
)
from mien.lab.config import Config
from mien.lab.page import Page, Picture, Table
from mien.lab.runs import Run
from mien.lab.trials import Watcher, check_judged
from mien.registry import unknown_name_error

Blocks = list[str | Table | Picture]

SYSTEMS = {"vgg19": ("random10", 25), "sequential": ("official", 50), "hybrid": ("official", 100)}
"""The paper's three, with the protocol and the epochs of their tables. Which faces judged the
hybrid is not said there: here the official ones do."""

RIVAL = ("official", 100)
"""By which the ten others are trained, when Table V is to measure them."""


def exhibit(name: str, root: Path, done: dict[str, Run]) -> Blocks:
    """The table or figure by that name, from the finished runs of the systems it needs."""
    if name == "fig1":
        return [report_faces.sample_sheet(data.split(data.load(root), "train"))]
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
    changes: Sequence[str] = (),
    rivals: bool = False,
) -> Page:
    """The exhibits by these names ("all" for every one), as a page; trains what is missing.

    Runs lie in `out/SYSTEM` and are used again. variant: "common" (mien's recipe), "paper" (the
    authors' settings, as far as known) or "slim" (the small networks). changes: of every recipe.
    rivals: Table V measures the ten related systems, too. Raises `UserError` for an unknown
    exhibit or variant.
    """
    wanted = _named(names)
    settings("vgg19", variant, changes)  # told what is wrong with these, even if none is needed
    needs = NEEDS | {"table5": (*SYSTEMS, *claims.RIVALS)} if rivals else NEEDS
    needed = dict.fromkeys(system for name in wanted for system in needs[name])
    done = {
        system: run(settings(system, variant, changes), root, out / system, watch)
        for system in needed
    }
    return shown(wanted, root, done)


def shown(names: Iterable[str], root: Path, done: dict[str, Run]) -> Page:
    """The page of these exhibits, of finished and measured runs: what the paper prints, and here.

    done: of each system that they need. Of a rival that is not there, Table V has the claim alone.
    """
    page = Page(f"{claims.PAPER}, made again")
    for name in names:
        kind, number = name[:-1], name[-1]
        page.add(f"# {kind.replace('fig', 'figure').title()} {number}")
        mine = done if name == "table5" else {system: done[system] for system in NEEDS[name]}
        page.add(*(tables.summary(r, tables.measured(r)) for r in mine.values()))
        page.add(*exhibit(name, root, mine))
    return page


def settings(system: str, variant: str, changes: Sequence[str] = ()) -> Config:
    """The recipe by which a system is trained to stand beside the paper."""
    protocol, epochs = SYSTEMS.get(system, RIVAL)
    ours = config.RECIPES.get(system) or replace(config.RECIPES["common"], model=system)
    ours = replace(ours, protocol=protocol, epochs=epochs)
    slim = f"{system}-slim"
    variants = {
        "common": ours,
        "slim": replace(ours, model=slim) if slim in models.available() else ours,
        "paper": config.RECIPES[f"{system}-paper"],
    }
    if variant not in variants:
        raise unknown_name_error("variant", variant, variants)
    wanted = config.changed(variants[variant], changes)
    if wanted.model.partition("-")[0] != system.partition("-")[0]:
        raise UserError(f"{wanted.model} is no {system}, and would stand under its name; for a "
                        "network of yours, mien train common.")  # fmt: skip
    return wanted


def run(wanted: Config, root: Path, out: Path, watch: Watcher) -> Run:
    """The finished and measured run of a recipe in `out`, trained if it is not there yet."""
    check_judged([wanted], root)
    found = train.fit(wanted, root, out, watch=watch(out.name, wanted))
    evaluate.measured(found, root)
    return found


def table5(done: dict[str, Run]) -> Blocks:
    """The paper's Table V: systems and the accuracy printed for each, and what is measured here."""
    printed = {system: (rival.name, rival.claimed) for system, rival in claims.RIVALS.items()}
    for system in SYSTEMS:
        printed[system] = f"{claims.PAPER}, {system}", claims.TRAINING[system]["val_accuracy"]
    rows: list[tuple] = [
        (*cells, *_accuracy(done.get(system))) for system, cells in printed.items()
    ]
    here = [_network(done.get(system)) for system in printed]
    table = Table(
        "Accuracy on FER2013: printed, each by a protocol of its authors' own, and measured here. "
        "For the hybrid the paper's table prints 0.96, which is its training accuracy; its "
        "validation accuracy stands here.",
        ("system", "printed", "measured", "low", "high", "network here", "epochs", "protocol"),
        [(*row, *which) for row, which in zip(rows, here, strict=True)],
    )
    return [table, Picture("table5", "Printed and measured.", figures.comparison(rows))]


def _accuracy(found: Run | None) -> tuple[float | None, ...]:
    """What a run's label head gets right, with its interval."""
    if found is None:
        return None, None, None
    return tuple(tables.measured(found)["heads"]["labels"]["fer2013"]["accuracy"].values())


def _network(found: Run | None) -> tuple[str | int | None, ...]:
    """What a run is of a system: its network, how long it was trained, and what judged it."""
    if found is None:
        return None, None, None
    return found.config.model, len(found.log()), tables.measured(found)["protocol"]


def _named(names: Iterable[str]) -> list[str]:
    wanted = list(names)
    if "all" in wanted:
        return list(NEEDS)
    for name in wanted:
        if name not in NEEDS:
            raise unknown_name_error("table or figure", name, [*NEEDS, "all"])
    return wanted
