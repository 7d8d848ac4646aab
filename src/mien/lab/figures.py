"""Create matplotlib figures from arrays, without opening windows.

Blue and orange are from the palette of Okabe and Ito, whose colors color-blind people can
distinguish. No chart relies on color alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter
from PIL import Image

from mien.lab import metrics

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#767676"

MAX_MARKED_POINTS = 30
"""Maximum number of points of a training curve that are drawn with markers."""

MARKER_RADIUS, LABEL_DISTANCE, LABEL_HEIGHT, CHARACTER_WIDTH = 4, 7, 9, 4.5
"""Sizes in points (1/72 inch) for `_label_points`; the width of a character is an estimate."""

HEAT_MAP_OPACITY = 0.45

MAX_LABEL_SHIFT = 90
"""Largest vertical distance, in points, between a point and its label."""

Claim = tuple[str, float]
"""Caption and value of a published number; it is drawn as a dotted line."""


def training_curves(
    log: Sequence[Mapping[str, float]],
    train_key: str,
    val_key: str,
    label: str,
    claims: Sequence[Claim] = (),
) -> Figure:
    """Plot a metric by epoch on the training set and on the validation set.

    Args:
        log: The log of a run, with one mapping per epoch.
        train_key: Key of the metric on the training set, in the entries of the log.
        val_key: Key of the metric on the validation set. Epochs without a metric are skipped.
        label: Label of the y axis.
        claims: Published numbers to draw.
    """
    figure, axes = _axes(6.4, 4.0)
    for name, key, style in (
        ("training", train_key, {"color": BLUE, "linestyle": "--", "marker": "o"}),
        ("validation", val_key, {"color": ORANGE, "linestyle": "-", "marker": "s"}),
    ):
        points = [(entry["epoch"], entry[key]) for entry in log if key in entry]
        if points:
            marker_size = 3 if len(points) <= MAX_MARKED_POINTS else 0
            axes.plot(*zip(*points, strict=True), label=name, markersize=marker_size, **style)  # type: ignore[arg-type]
    # The lowest caption is below its line, so that it does not overlap the next one.
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


def confusion(matrix: np.ndarray, labels: Sequence[str], *, normalize: bool) -> Figure:
    """Draw a confusion matrix, colored by the fractions of the faces of each true class.

    Args:
        matrix: (K, K) counts; rows are true classes.
        labels: The K class names.
        normalize: Write these fractions into the cells, instead of counts.
    """
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _axes(5.6, 5.0)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*matrix.shape):
        text = f"{fractions[i, j]:.2f}" if normalize else f"{matrix[i, j]:,}"
        color = "white" if fractions[i, j] > 0.5 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=9, color=color)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    return figure


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> Figure:
    """Draw a reliability diagram above a histogram of the confidence.

    Args:
        probabilities: (N, K) predicted probabilities.
        truth: (N,) true classes.
        bins: Number of equal-width bins of the confidence.
    """
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == truth).astype(np.float64)
    count, predicted, accuracy = metrics.reliability(confidence, correct, bins).T
    error = metrics.calibration_error(probabilities, truth, bins)
    figure = Figure(figsize=(5.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _style(above)
    _style(below)
    has_faces = count > 0
    above.plot((0, 1), (0, 1), color=GRAY, linestyle=":", label="perfect calibration")
    above.plot(predicted[has_faces], accuracy[has_faces], color=BLUE, marker="o",
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
    """Plot the mean vote share by predicted share in ten bins, with one panel per emotion.

    On the diagonal, predicted share and vote share are equal. Bins with more faces have larger
    dots.

    Args:
        predicted: (N, K) predicted shares.
        voted: (N, K) vote shares.
        labels: The K emotions.
    """
    columns = 4
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(2.5 * columns, 2.5 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True))
    for k, (panel, label) in enumerate(zip(panels, labels, strict=False)):
        count, mean_predicted, mean_voted = metrics.reliability(predicted[:, k], voted[:, k], 10).T
        has_faces = count > 0
        x, y = mean_predicted[has_faces], mean_voted[has_faces]
        panel.plot((0, 1), (0, 1), color=GRAY, linestyle=":")
        panel.plot(x, y, color=BLUE, linewidth=1)
        panel.scatter(x, y, 6 + 3 * np.sqrt(count[has_faces]), color=BLUE, alpha=0.8)
        panel.set_title(label, fontsize=10)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.set_aspect("equal")
        _style(panel)
    for panel in panels[len(labels) :]:
        panel.set_visible(False)
    bottom_panels = panels[max(len(labels) - columns, 0) : len(labels)]  # one per column
    for panel in bottom_panels:
        panel.tick_params(labelbottom=True)
    figure.supxlabel("predicted share", fontsize=10)
    figure.supylabel("vote share", fontsize=10)
    return figure


def learning_rate_and_time(log: Sequence[Mapping[str, float]]) -> Figure:
    """Plot the learning rate and the duration of each epoch from the log of a run."""
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
    """Draw (N, H, W) gray or (N, H, W, 3) RGB uint8 faces in a grid, with captions below them."""
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
    """Plot claimed and measured accuracy of each system.

    Args:
        rows: (name, claimed, measured, low, high) of each system. Accuracies are 0 to 1, or None if
            there is no claim or no measurement. The 95 % interval of the measurement is from low
            to high, which are ignored without a measurement.
    """
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
    """Plot accuracy by multiply-adds on a log scale.

    Args:
        points: (name, multiply-adds, accuracy, low, high) of each network. The interval of the
            accuracy, 0 to 1, is from low to high.
    """
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
    """Write the name of each point next to it, shifted up or down to avoid overlaps."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()  # sets the limits of the axes
    positions = axes.transData.transform([(x, y) for _, x, y in points]) * 72 / figure.dpi
    radius = MARKER_RADIUS
    # Occupied areas: left, bottom, right, top.
    boxes = [(px - radius, py - radius, px + radius, py + radius) for px, py in positions]
    shifts = range(-MAX_LABEL_SHIFT, MAX_LABEL_SHIFT + 1, 2)
    # Vertical shift, and whether the name is right of the point; small shifts first.
    candidates = sorted(
        product(shifts, (True, False)), key=lambda candidate: (abs(candidate[0]), not candidate[1])
    )
    for (name, x, y), (px, py) in zip(points, positions, strict=True):
        width = CHARACTER_WIDTH * len(name)
        for shift, is_right in candidates:
            left = px + LABEL_DISTANCE if is_right else px - LABEL_DISTANCE - width
            bottom = py + shift - LABEL_HEIGHT / 2
            box = (left, bottom, left + width, bottom + LABEL_HEIGHT)
            if not any(_overlap(box, other) for other in boxes):
                break  # without a free place, the last candidate is used
        boxes.append(box)
        offset = (LABEL_DISTANCE if is_right else -LABEL_DISTANCE, shift)
        needs_line = abs(shift) > MARKER_RADIUS
        axes.annotate(
            name, (x, y), offset, textcoords="offset points", fontsize=8,
            va="center", ha="left" if is_right else "right",
            arrowprops={"arrowstyle": "-", "color": GRAY, "lw": 0.5} if needs_line else None,
        )  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def overlay_maps(faces: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Draw heat maps over faces, each map scaled to its own range.

    Args:
        faces: (N, H, W) uint8.
        maps: (N, h, w) values of any range.

    Returns:
        (N, H, W, 3) uint8 RGB.
    """
    overlays = []
    for face, values in zip(faces, maps, strict=True):
        shifted = values - values.min()
        heat = Image.fromarray((shifted / max(float(shifted.max()), 1e-9)).astype(np.float32))
        resized = np.asarray(heat.resize(face.shape[::-1], Image.Resampling.BILINEAR))
        colors = colormaps["viridis"](resized)[..., :3] * 255
        gray = np.repeat(face[..., None], 3, axis=2)
        overlay = (1 - HEAT_MAP_OPACITY) * gray + HEAT_MAP_OPACITY * colors
        overlays.append(overlay.astype(np.uint8))
    return np.array(overlays)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
