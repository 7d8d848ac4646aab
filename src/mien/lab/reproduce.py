"""The tables and figures of the paper, reproduced from real training runs."""

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
from mien.lab.experiments import RunProgress, check_comparable
from mien.lab.page import FigureBlock, Page, Table
from mien.lab.runs import Run
from mien.registry import unknown_name_error

Blocks = list[str | Table | FigureBlock]

SYSTEMS = {"vgg19": ("random10", 25), "sequential": ("official", 50), "hybrid": ("official", 100)}
"""The paper's three systems -> protocol and epochs of their tables.

The paper does not state the hybrid's evaluation set; here it is the official one."""

RELATED_SETTINGS = ("official", 100)
"""Protocol and epochs of the ten related systems, if Table V is to measure them."""

FIGURE_1 = "fig1"

REQUIRED_SYSTEMS: dict[str, tuple[str, ...]] = {
    "table1": ("vgg19",), "table2": ("vgg19",), "table3": ("sequential",),
    "table4": ("sequential",), "table5": tuple(SYSTEMS),
    FIGURE_1: (), "fig2": ("vgg19",), "fig3": ("vgg19",), "fig4": ("vgg19",),
    "fig5": ("sequential",), "fig6": ("sequential",), "fig7": ("sequential",),
    "fig8": ("hybrid",), "fig9": ("hybrid",),
}  # fmt: skip
"""Table or figure -> the systems that it needs trained."""


def table_or_figure(name: str, root: Path, finished: dict[str, Run]) -> Blocks:
    """One table or figure of the paper, from the finished runs of the systems that it needs."""
    if name == FIGURE_1:
        return [report_faces.sample_faces(data.split(data.load(root), "train"))]
    if name == "table5":
        return table5(finished)
    ((_, run),) = finished.items()
    if name in ("table1", "table3"):
        return [tables.training([run])]
    if name in ("table2", "table4"):
        return [tables.per_class(run, "labels")]
    if name in ("fig4", "fig7"):
        return [*report.confusions(run)]
    accuracy, loss = report.training_curves(run)
    return [accuracy if name in ("fig2", "fig5", "fig8") else loss]


def reproduce(
    names: Iterable[str],
    root: Path,
    out: Path,
    on_progress: RunProgress,
    *,
    variant: str = "common",
    changes: Sequence[str] = (),
    related: bool = False,
) -> Page:
    """A page with tables and figures of the paper; trains the systems that are missing.

    Args:
        names: "table1" to "table5", "fig1" to "fig9", or "all".
        root: the dataset.
        out: the folder of the runs, `out/SYSTEM`; finished runs are reused.
        on_progress: reports the progress of each training.
        variant: "common" (mien's own settings), "paper" (the authors' settings, as far as they
            are stated) or "slim" (the small networks).
        changes: `FIELD=VALUE`, applied to every config.
        related: also train the ten related systems, for Table V.

    Raises:
        UserError: an unknown table, figure or variant.
    """
    requested = _check_names(names)
    system_config("vgg19", variant, changes)  # reject wrong options even if no system is needed
    required = REQUIRED_SYSTEMS
    if related:
        required = required | {"table5": (*SYSTEMS, *claims.RELATED_SYSTEMS)}
    systems = dict.fromkeys(system for name in requested for system in required[name])
    finished = {
        system: trained_run(
            system_config(system, variant, changes), root, out / system, on_progress
        )
        for system in systems
    }
    return build_page(requested, root, finished)


def build_page(names: Iterable[str], root: Path, finished: dict[str, Run]) -> Page:
    """The page of tables and figures, from finished and evaluated runs.

    Args:
        names: of tables and figures.
        root: the dataset, for Figure 1.
        finished: system -> run, of all systems that these need. A related system without a run
            has only its claimed number in Table V.
    """
    page = Page(f"{claims.PAPER}, reproduced")
    for name in names:
        kind, number = name[:-1], name[-1]
        page.add(f"# {kind.replace('fig', 'figure').title()} {number}")
        systems = finished if name == "table5" else REQUIRED_SYSTEMS[name]
        of_name = {system: finished[system] for system in systems}
        page.add(*table_or_figure(name, root, of_name))
        page.add(*(tables.summary(r, tables.load_result(r)) for r in of_name.values()))
    return page


def system_config(system: str, variant: str, changes: Sequence[str] = ()) -> Config:
    """The config with which a system is trained for comparison with the paper."""
    protocol, epochs = SYSTEMS.get(system, RELATED_SETTINGS)
    common = config.RECIPES.get(system) or replace(config.RECIPES["common"], model=system)
    common = replace(common, protocol=protocol, epochs=epochs)
    slim = f"{system}-slim"
    variants = {
        "common": common,
        "slim": replace(common, model=slim) if slim in models.available() else common,
        "paper": config.RECIPES[f"{system}-paper"],
    }
    if variant not in variants:
        raise unknown_name_error("variant", variant, variants)
    changed = config.changed(variants[variant], changes)
    if changed.model.partition("-")[0] != system.partition("-")[0]:
        raise UserError(
            f"{changed.model} is not a {system}, and its numbers would be listed as {system}'s. "
            "To train it: mien train common."
        )
    return changed


def trained_run(run_config: Config, root: Path, out: Path, on_progress: RunProgress) -> Run:
    """The finished and evaluated run of a config in `out`, trained if it is missing."""
    check_comparable([run_config], root)
    run = train.fit(run_config, root, out, on_progress=on_progress(out.name, run_config))
    evaluate.load_or_evaluate(run, root)
    return run


def table5(finished: dict[str, Run]) -> Blocks:
    """The paper's Table V: the claimed accuracy of each system, and the measured one."""
    claimed = {
        key: (system.name, system.claimed_accuracy)
        for key, system in claims.RELATED_SYSTEMS.items()
    }
    for system in SYSTEMS:
        claimed[system] = (
            f"{claims.PAPER}, {system}",
            claims.CLAIMED_TRAINING[system]["val_accuracy"],
        )
    rows: list[tuple] = [
        (*cells, *_accuracy(finished.get(system))) for system, cells in claimed.items()
    ]
    details = [_details(finished.get(system)) for system in claimed]
    table = Table(
        "Accuracy on FER2013: claimed, each by its authors' own protocol, and measured here. For "
        "the hybrid the paper's Table V prints its training accuracy, 0.96; this table has its "
        "validation accuracy.",
        ("system", "claimed", "measured", "low", "high", "network here", "epochs", "protocol"),
        [(*row, *detail) for row, detail in zip(rows, details, strict=True)],
    )
    figure = figures.claimed_and_measured(rows)
    return [table, FigureBlock("table5", "Claimed and measured accuracy.", figure)]


def _accuracy(run: Run | None) -> tuple[float | None, ...]:
    """The accuracy of a run's label head, with its interval."""
    if run is None:
        return None, None, None
    return tuple(tables.load_result(run)["heads"]["labels"]["fer2013"]["accuracy"].values())


def _details(run: Run | None) -> tuple[str | int | None, ...]:
    """Network, number of epochs and protocol of a run."""
    if run is None:
        return None, None, None
    return run.config.model, len(run.log()), tables.load_result(run)["protocol"]


def _check_names(names: Iterable[str]) -> list[str]:
    requested = list(names)
    if "all" in requested:
        return list(REQUIRED_SYSTEMS)
    for name in requested:
        if name not in REQUIRED_SYSTEMS:
            raise unknown_name_error("table or figure", name, [*REQUIRED_SYSTEMS, "all"])
    return requested
