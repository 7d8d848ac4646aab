"""Figures: arrays in, a matplotlib figure out, nothing else.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; no figure tells
anything by colour alone. Nothing is drawn on a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from mien.lab import metrics

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"

Claim = tuple[str, float]
"""What somebody printed, as a caption and a value: drawn as a dotted line."""


def curves(
    log: Sequence[Mapping[str, float]],
    train: str,
    val: str,
    label: str,
    claims: Sequence[Claim] = (),
) -> Figure:
    """A number by epoch, on the faces that teach and on those that judge, from a run's log.

    train, val: its names in the log; a name that the log lacks is left out.
    """
    figure, axes = _axes(6.4, 4.0)
    for name, key, style in (
        ("training", train, {"color": BLUE, "linestyle": "--", "marker": "o"}),
        ("validation", val, {"color": ORANGE, "linestyle": "-", "marker": "s"}),
    ):
        points = [(entry["epoch"], entry[key]) for entry in log if key in entry]
        if points:
            size = 3 if len(points) <= 30 else 0
            axes.plot(*zip(*points, strict=True), label=name, markersize=size, **style)  # type: ignore[arg-type]
    lowest = min((value for _, value in claims), default=0)
    for caption, value in claims:
        axes.axhline(value, color=GREY, linestyle=":", linewidth=1)
        axes.annotate(
            caption, (0.99, value), xycoords=("axes fraction", "data"), ha="right",
            va="top" if value == lowest and len(claims) > 1 else "bottom", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str], *, shares: bool) -> Figure:
    """A confusion matrix, (K, K) counts by true class and answer; or each row's shares."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _axes(5.6, 5.0)
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*matrix.shape):
        text = f"{rows[i, j]:.2f}" if shares else f"{matrix[i, j]:,}"
        colour = "white" if rows[i, j] > 0.5 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    return figure


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Figure:
    """How often the top answer is right, by how sure it is: (N, K), (N,); below, how many faces."""
    sure = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(np.float64)
    count, said, found = metrics.reliability(sure, right, bins).T
    error = metrics.calibration_error(probabilities, truth, bins)
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _tidy(above)
    _tidy(below)
    seen = count > 0
    above.plot((0, 1), (0, 1), color=GREY, linestyle=":", label="as sure as right")
    above.plot(said[seen], found[seen], color=BLUE, marker="o", label=f"error {error:.3f}")
    above.set_ylabel("how often right")
    above.set_ylim(0, 1)
    above.legend(frameon=False, loc="upper left")
    edges = np.arange(bins) / bins
    below.bar(edges, count, width=1 / bins * 0.95, align="edge", color=BLUE)
    below.set_ylabel("faces")
    below.set_xlabel("probability of the answer")
    below.set_xlim(0, 1)
    return figure


def proportions(said: np.ndarray, shares: np.ndarray, labels: Sequence[str]) -> Figure:
    """Raters' mean share by predicted share, a panel per emotion: (N, K), (N, K).

    On the diagonal, a predicted share is the share of raters. The larger a dot, the more faces.
    """
    columns = 4
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.5 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True))
    for k, (panel, label) in enumerate(zip(panels, labels, strict=False)):
        count, mean, found = metrics.reliability(said[:, k], shares[:, k], 10).T
        seen = count > 0
        panel.plot((0, 1), (0, 1), color=GREY, linestyle=":")
        panel.plot(mean[seen], found[seen], color=BLUE, linewidth=1)
        panel.scatter(mean[seen], found[seen], 6 + 3 * np.sqrt(count[seen]), color=BLUE, alpha=0.8)
        panel.set_title(label, fontsize=10)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.set_aspect("equal")
        _tidy(panel)
    for panel in panels[len(labels) :]:
        panel.set_visible(False)
    for panel in panels[max(len(labels) - columns, 0) : len(labels)]:  # nothing is below these
        panel.tick_params(labelbottom=True)
    figure.supxlabel("predicted share", fontsize=10)
    figure.supylabel("share of raters", fontsize=10)
    return figure


def pace(log: Sequence[Mapping[str, float]]) -> Figure:
    """Learning rate and seconds by epoch, from a run's log."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [entry["epoch"] for entry in log]
    for axes, key, label in ((above, "lr", "learning rate"), (below, "seconds", "seconds")):
        axes.plot(epochs, [entry.get(key, np.nan) for entry in log], color=BLUE)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        _tidy(axes)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def sheet(faces: np.ndarray, captions: Sequence[str], columns: int = 7) -> Figure:
    """Faces side by side, each over its caption: (N, H, W) grey or (N, H, W, 3), uint8."""
    columns = min(columns, max(len(faces), 1))
    rows = max(1, -(-len(faces) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    figure = Figure(figsize=(1.25 * columns, (1.15 + 0.18 * lines) * rows), layout="constrained")
    places = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for place in places:
        place.axis("off")
    for place, face, caption in zip(places, faces, captions, strict=False):
        place.imshow(face, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        place.set_title(caption, fontsize=8, y=-0.06, va="top", pad=0)
    return figure


def comparison(rows: Sequence[tuple[str, float | None, float | None, float, float]]) -> Figure:
    """Claimed against measured accuracy: (system, claimed, measured, low, high), shares or None."""
    figure, axes = _axes(7.2, 0.34 * len(rows) + 1.1)
    for place, (_, claimed, measured, low, high) in enumerate(rows):
        if claimed is not None and measured is not None:
            axes.plot((claimed, measured), (place, place), color=GREY, linewidth=1, zorder=1)
        if claimed is not None:
            axes.plot(claimed, place, color=ORANGE, marker="D", linestyle="", markersize=6)
        if measured is not None:
            errors = [[max(measured - low, 0)], [max(high - measured, 0)]]
            axes.errorbar(measured, place, xerr=errors, color=BLUE, marker="o", capsize=3)
    axes.plot([], [], color=ORANGE, marker="D", linestyle="", label="claimed")
    axes.plot([], [], color=BLUE, marker="o", linestyle="", label="measured, 95 % interval")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel("accuracy")
    axes.grid(axis="x", color="#dddddd")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def cost(points: Sequence[tuple[str, float, float, float, float]]) -> Figure:
    """Accuracy by work: (name, multiply-adds, accuracy, low, high); the work on a log scale."""
    figure, axes = _axes(8.0, 6.4)
    for _, work, accuracy, low, high in points:
        errors = [[max(accuracy - low, 0)], [max(high - accuracy, 0)]]
        axes.errorbar(work / 1e6, accuracy, yerr=errors, color=BLUE, ecolor="#bcd3e3", marker="o")
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.set_xlabel("millions of multiply-adds for one face")
    axes.set_ylabel("accuracy")
    axes.grid(axis="y", color="#e4e4e4")
    _name_points(axes, [(name, work / 1e6, accuracy) for name, work, accuracy, *_ in points])
    return figure


def _name_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each point's name to its right or left, moved up or down until it covers no other."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    places = axes.transData.transform([(x, y) for _, x, y in points]) * 72 / figure.dpi
    boxes = [(px - 4, py - 4, px + 4, py + 4) for px, py in places]
    tries = sorted(
        product(range(-90, 91, 2), (True, False)), key=lambda one: (abs(one[0]), -one[1])
    )
    for (name, x, y), (px, py) in zip(points, places, strict=True):
        wide = 4.5 * len(name)
        for shift, right in tries:
            left = px + 7 if right else px - 7 - wide
            box = (left, py + shift - 4.5, left + wide, py + shift + 4.5)
            if not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        axes.annotate(
            name, (x, y), (7 if right else -7, shift), textcoords="offset points", fontsize=8,
            va="center", ha="left" if right else "right",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5} if abs(shift) > 4 else None,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def overlaid(faces: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Maps laid over their faces: (N, H, W) uint8, (N, h, w) of any range -> (N, H, W, 3) uint8."""
    from matplotlib import colormaps
    from PIL import Image

    made = []
    for face, found in zip(faces, maps, strict=True):
        spread = found - found.min()
        heat = Image.fromarray((spread / max(float(spread.max()), 1e-9)).astype(np.float32))
        large = np.asarray(heat.resize(face.shape[::-1], Image.Resampling.BILINEAR))
        colours = colormaps["viridis"](large)[..., :3] * 255
        grey = np.repeat(face[..., None], 3, axis=2)
        made.append((0.55 * grey + 0.45 * colours).astype(np.uint8))
    return np.array(made)


def _axes(wide: float, high: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(wide, high), layout="constrained")
    axes = figure.subplots()
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
