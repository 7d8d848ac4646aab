"""Reproduce the tables and figures of the paper by training its systems."""

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
from mien.lab.experiments import RunProgress, check_trainable
from mien.lab.page import FigureBlock, Page, Table
from mien.lab.runs import Run
from mien.registry import unknown_name_error

Blocks = list[str | Table | FigureBlock]

PAPER_SETTINGS = {
    "vgg19": ("random10", 25),
    "sequential": ("official", 50),
    "hybrid": ("official", 100),
}
"""System of the paper -> protocol and number of epochs.

The paper does not state the evaluation set of the hybrid; the official one is used here."""

RELATED_SETTINGS = ("official", 100)
"""Protocol and number of epochs of the ten related systems in Table V."""

FIGURE_1 = "fig1"
"""The figure that shows faces of the dataset, for which nothing is trained."""

REQUIRED_SYSTEMS: dict[str, tuple[str, ...]] = {
    "table1": ("vgg19",), "table2": ("vgg19",), "table3": ("sequential",),
    "table4": ("sequential",), "table5": tuple(PAPER_SETTINGS),
    FIGURE_1: (), "fig2": ("vgg19",), "fig3": ("vgg19",), "fig4": ("vgg19",),
    "fig5": ("sequential",), "fig6": ("sequential",), "fig7": ("sequential",),
    "fig8": ("hybrid",), "fig9": ("hybrid",),
}  # fmt: skip
"""Table or figure -> the systems that must be trained for it."""


def table_or_figure(name: str, root: Path, finished: dict[str, Run]) -> Blocks:
    """Build one table or figure of the paper.

    Args:
        name: Name of the table or figure.
        root: Path of the dataset, which Figure 1 needs.
        finished: System -> run, for the systems that the table or figure requires.
    """
    if name == FIGURE_1:
        return [report_faces.sample_faces(data.split(data.load(root), "train"))]
    if name == "table5":
        return table5(finished)
    (run,) = finished.values()
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
    """Train the systems that are not finished, and build a page with tables and figures.

    Args:
        names: "table1" to "table5", "fig1" to "fig9", or "all".
        root: Path of the dataset.
        out: Folder for the runs, one subfolder per system. Finished runs are reused.
        on_progress: Called with the name and config of each training; returns its progress
            callback.
        variant: Training settings. "common": the same for all systems, except for the protocol,
            the epochs and a few settings of the recipes for the paper's three systems. "paper":
            those of the authors, as far as published. "slim": as "common", with small networks
            where they exist.
        changes: Changes of the form `FIELD=VALUE` to every config.
        related: Also train the ten related systems, for Table V.

    Raises:
        UserError: A table, figure, variant or change is invalid, or a training fails.
        runs.RunLocked: Another process is training one of the systems.
    """
    requested = _check_names(names)
    system_config("vgg19", variant, changes)  # raises for invalid options before training
    required = REQUIRED_SYSTEMS
    if related:
        required = required | {"table5": (*PAPER_SETTINGS, *claims.RELATED_SYSTEMS)}
    systems = dict.fromkeys(system for name in requested for system in required[name])
    finished = {
        system: trained_run(
            system_config(system, variant, changes), root, out / system, on_progress
        )
        for system in systems
    }
    return build_page(requested, root, finished)


def build_page(names: Iterable[str], root: Path, finished: dict[str, Run]) -> Page:
    """Build the page of tables and figures from finished and evaluated runs.

    Args:
        names: Names of tables and figures.
        root: Path of the dataset, which Figure 1 needs.
        finished: System -> run, for all systems that the tables and figures require. Table V shows
            only the claimed accuracy of a related system without a run.
    """
    page = Page(f"{claims.PAPER}, reproduced")
    for name in names:
        kind, number = name[:-1], name[-1]
        page.add(f"# {kind.replace('fig', 'figure').title()} {number}")
        systems = finished if name == "table5" else REQUIRED_SYSTEMS[name]
        selected = {system: finished[system] for system in systems}
        page.add(*table_or_figure(name, root, selected))
        page.add(*(tables.summary(run, run.result()) for run in selected.values()))
    return page


def system_config(system: str, variant: str, changes: Sequence[str] = ()) -> Config:
    """Return the config for training a system of the paper or a related one; see `reproduce`."""
    protocol, epochs = PAPER_SETTINGS.get(system, RELATED_SETTINGS)
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
    changed = config.apply_changes(variants[variant], changes)
    if changed.model_family != system:
        raise UserError(
            f"Model {changed.model} is not a {system} network. Use mien train common --set model="
            f"{changed.model} to train it."
        )
    return changed


def trained_run(run_config: Config, root: Path, out: Path, on_progress: RunProgress) -> Run:
    """Return the trained and evaluated run of a config in `out`; finished work is not repeated."""
    check_trainable([run_config], root)
    run = train.fit(run_config, root, out, on_progress=on_progress(out.name, run_config))
    evaluate.load_or_evaluate(run, root)
    return run


def table5(finished: dict[str, Run]) -> Blocks:
    """Build Table V of the paper, with the claimed and the measured accuracy of each system."""
    claimed = {
        key: (system.name, system.claimed_accuracy)
        for key, system in claims.RELATED_SYSTEMS.items()
    }
    for system in PAPER_SETTINGS:
        claimed[system] = (
            f"{claims.PAPER}, {system}",
            claims.CLAIMED_TRAINING[system]["val_accuracy"],
        )
    rows: list[tuple] = [
        (*claim, *_accuracy(finished.get(system))) for system, claim in claimed.items()
    ]
    details = [_details(finished.get(system)) for system in claimed]
    table = Table(
        "Accuracy on FER2013: claimed by the authors, each with their own protocol, and measured "
        "with mien. For the hybrid, Table V of the paper reports the training accuracy, 0.96; this "
        "table shows the claimed validation accuracy.",
        ("system", "claimed", "measured", "low", "high", "network here", "epochs", "protocol"),
        [(*row, *detail) for row, detail in zip(rows, details, strict=True)],
    )
    figure = figures.claimed_and_measured(rows)
    return [table, FigureBlock("table5", "Claimed and measured accuracy.", figure)]


def _accuracy(run: Run | None) -> tuple[float | None, ...]:
    """Return the accuracy of the label head of a run, and both ends of its interval."""
    if run is None:
        return None, None, None
    accuracy = run.result()["heads"]["labels"]["fer2013"]["accuracy"]
    return accuracy["value"], accuracy["low"], accuracy["high"]


def _details(run: Run | None) -> tuple[str | int | None, ...]:
    """Return the network, the number of epochs and the protocol of a run."""
    if run is None:
        return None, None, None
    return run.config.model, len(run.log()), run.result()["protocol"]


def _check_names(names: Iterable[str]) -> list[str]:
    requested = list(names)
    if "all" in requested:
        return list(REQUIRED_SYSTEMS)
    for name in requested:
        if name not in REQUIRED_SYSTEMS:
            raise unknown_name_error("table or figure", name, [*REQUIRED_SYSTEMS, "all"])
    return requested
