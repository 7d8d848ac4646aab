"""Figures: arrays in, a matplotlib figure out; nothing opens a window.

Colors are those of Okabe and Ito, which color-blind people can tell apart; no figure relies on
color alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from mien.lab import metrics

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#767676"

Claim = tuple[str, float]
"""A printed number, as a caption and a value; drawn as a dotted line."""


def training_curves(
    log: Sequence[Mapping[str, float]],
    train: str,
    val: str,
    label: str,
    claims: Sequence[Claim] = (),
) -> Figure:
    """A metric by epoch, on the training and on the validation set.

    Args:
        log: a run's log, one mapping per epoch.
        train: the key of the training metric; a key that the log lacks is skipped.
        val: the key of the validation metric.
        label: of the y axis.
        claims: printed numbers.
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
        axes.axhline(value, color=GRAY, linestyle=":", linewidth=1)
        axes.annotate(
            caption, (0.99, value), xycoords=("axes fraction", "data"), ha="right",
            va="top" if value == lowest and len(claims) > 1 else "bottom", fontsize=8, color=GRAY,
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def confusion(matrix: np.ndarray, labels: Sequence[str], *, shares: bool) -> Figure:
    """A confusion matrix from (K, K) counts; `shares` shows each row as shares of its class."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _axes(5.6, 5.0)
    axes.imshow(rows, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*matrix.shape):
        text = f"{rows[i, j]:.2f}" if shares else f"{matrix[i, j]:,}"
        color = "white" if rows[i, j] > 0.5 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    return figure


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Figure:
    """Reliability diagram, and the number of faces per bin below it: (N, K), (N,) class indices."""
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == truth).astype(np.float64)
    count, predicted, accuracy = metrics.reliability(confidence, correct, bins).T
    error = metrics.calibration_error(probabilities, truth, bins)
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _style(above)
    _style(below)
    filled = count > 0
    above.plot((0, 1), (0, 1), color=GRAY, linestyle=":", label="perfect calibration")
    above.plot(predicted[filled], accuracy[filled], color=BLUE, marker="o",
               label=f"calibration error {error:.3f}")  # fmt: skip
    above.set_ylabel("accuracy")
    above.set_ylim(0, 1)
    above.legend(frameon=False, loc="upper left")
    edges = np.arange(bins) / bins
    below.bar(edges, count, width=1 / bins * 0.95, align="edge", color=BLUE)
    below.set_ylabel("faces")
    below.set_xlabel("confidence")
    below.set_xlim(0, 1)
    return figure


def proportions(predicted: np.ndarray, voted: np.ndarray, labels: Sequence[str]) -> Figure:
    """Mean vote share by predicted share, one panel per emotion: (N, K), (N, K).

    On the diagonal, predicted and vote share are equal. Larger dots stand for more faces.
    """
    columns = 4
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.5 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True))
    for k, (panel, label) in enumerate(zip(panels, labels, strict=False)):
        count, mean, votes = metrics.reliability(predicted[:, k], voted[:, k], 10).T
        filled = count > 0
        panel.plot((0, 1), (0, 1), color=GRAY, linestyle=":")
        panel.plot(mean[filled], votes[filled], color=BLUE, linewidth=1)
        sizes = 6 + 3 * np.sqrt(count[filled])
        panel.scatter(mean[filled], votes[filled], sizes, color=BLUE, alpha=0.8)
        panel.set_title(label, fontsize=10)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.set_aspect("equal")
        _style(panel)
    for panel in panels[len(labels) :]:
        panel.set_visible(False)
    for panel in panels[
        max(len(labels) - columns, 0) : len(labels)
    ]:  # the bottom panel of each column
        panel.tick_params(labelbottom=True)
    figure.supxlabel("predicted share", fontsize=10)
    figure.supylabel("vote share", fontsize=10)
    return figure


def learning_rate_and_time(log: Sequence[Mapping[str, float]]) -> Figure:
    """Learning rate and duration of each epoch, from a run's log."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [entry["epoch"] for entry in log]
    for axes, key, label in ((above, "lr", "learning rate"), (below, "seconds", "seconds")):
        axes.plot(epochs, [entry.get(key, np.nan) for entry in log], color=BLUE)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        _style(axes)
    below.set_xlabel("epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def face_grid(faces: np.ndarray, captions: Sequence[str], columns: int = 7) -> Figure:
    """Faces in a grid with captions below: (N, H, W) gray or (N, H, W, 3) RGB, uint8."""
    columns = min(columns, max(len(faces), 1))
    rows = max(1, -(-len(faces) // columns))
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    figure = Figure(figsize=(1.25 * columns, (1.15 + 0.18 * lines) * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel in panels:
        panel.axis("off")
    for panel, face, caption in zip(panels, faces, captions, strict=False):
        panel.imshow(face, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        panel.set_title(caption, fontsize=8, y=-0.06, va="top", pad=0)
    return figure


def claimed_and_measured(
    rows: Sequence[tuple[str, float | None, float | None, float, float]],
) -> Figure:
    """Claimed and measured accuracy, 0 to 1 or None: (system, claimed, measured, low, high)."""
    figure, axes = _axes(7.2, 0.34 * len(rows) + 1.1)
    for y, (_, claimed, measured, low, high) in enumerate(rows):
        if claimed is not None and measured is not None:
            axes.plot((claimed, measured), (y, y), color=GRAY, linewidth=1, zorder=1)
        if claimed is not None:
            axes.plot(claimed, y, color=ORANGE, marker="D", linestyle="", markersize=6)
        if measured is not None:
            errors = [[max(measured - low, 0)], [max(high - measured, 0)]]
            axes.errorbar(measured, y, xerr=errors, color=BLUE, marker="o", capsize=3)
    axes.plot([], [], color=ORANGE, marker="D", linestyle="", label="claimed")
    axes.plot([], [], color=BLUE, marker="o", linestyle="", label="measured, 95 % interval")
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    axes.set_xlabel("accuracy")
    axes.grid(axis="x", color="#dddddd")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return figure


def accuracy_by_cost(points: Sequence[tuple[str, float, float, float, float]]) -> Figure:
    """Accuracy by multiply-adds, on a log scale: (name, multiply-adds, accuracy, low, high)."""
    figure, axes = _axes(8.0, 6.4)
    for _, multiply_adds, accuracy, low, high in points:
        errors = [[max(accuracy - low, 0)], [max(high - accuracy, 0)]]
        axes.errorbar(
            multiply_adds / 1e6, accuracy, yerr=errors, color=BLUE, ecolor="#bcd3e3", marker="o"
        )
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, " %"))
    axes.set_xlabel("millions of multiply-adds per face")
    axes.set_ylabel("accuracy")
    axes.grid(axis="y", color="#e4e4e4")
    _label_points(axes, [(name, cost / 1e6, accuracy) for name, cost, accuracy, *_ in points])
    return figure


def _label_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each point's name beside it, shifted up or down until it overlaps no other."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    positions = axes.transData.transform([(x, y) for _, x, y in points]) * 72 / figure.dpi
    boxes = [(px - 4, py - 4, px + 4, py + 4) for px, py in positions]
    candidates = sorted(
        product(range(-90, 91, 2), (True, False)), key=lambda one: (abs(one[0]), -one[1])
    )
    for (name, x, y), (px, py) in zip(points, positions, strict=True):
        width = 4.5 * len(name)
        for shift, right in candidates:
            left = px + 7 if right else px - 7 - width
            box = (left, py + shift - 4.5, left + width, py + shift + 4.5)
            if not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        axes.annotate(
            name, (x, y), (7 if right else -7, shift), textcoords="offset points", fontsize=8,
            va="center", ha="left" if right else "right",
            arrowprops={"arrowstyle": "-", "color": GRAY, "lw": 0.5} if abs(shift) > 4 else None,
        )  # fmt: skip


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def overlay_maps(faces: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Heat maps over faces: (N, H, W) uint8, (N, h, w) of any range -> (N, H, W, 3) uint8 RGB."""
    from matplotlib import colormaps
    from PIL import Image

    overlays = []
    for face, values in zip(faces, maps, strict=True):
        shifted = values - values.min()
        heat = Image.fromarray((shifted / max(float(shifted.max()), 1e-9)).astype(np.float32))
        resized = np.asarray(heat.resize(face.shape[::-1], Image.Resampling.BILINEAR))
        colors = colormaps["viridis"](resized)[..., :3] * 255
        gray = np.repeat(face[..., None], 3, axis=2)
        overlays.append((0.55 * gray + 0.45 * colors).astype(np.uint8))
    return np.array(overlays)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
