"""A recipe says everything about a training but the data's whereabouts."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mien.errors import UserError
from mien.registry import unknown_name_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Saved whole in the run folder; a run is its recipe, the data and nothing else.

    protocol: how the faces are divided, a name of `mien.lab.protocols`. fold: which of `folds`
    parts is held out where the protocol makes parts.
    model: family and variant, `"resnet-32"`. channels: 1 (grey) or 3 (grey, repeated).
    pretrained: start from ImageNet weights, where the family has them; needs the network.
    start: a run folder from whose weights to start.
    side: pixels of the square window that the network sees in training; the faces have 48.
    first_side: pixels to which that window is shrunk in the first epoch, a multiple of 4; it grows
    to `side` over two thirds of the epochs (early ones need no detail and cost half). 0: never.
    label_weight, vote_weight: of the losses against the FER2013 labels and the FER+ votes.
    drop_single_votes: take one lonely vote among ten for a slip, as Barsoum et al. 2016 do.
    teachers: run folders whose averaged answers are a third target, with teacher_weight;
    teacher_views: "one", or "flip" to ask them of the mirrored crop as well. stored_answers: a
    folder of their logits that `mien distill` wrote; the faces are then augmented as it says.
    pool_votes: exact copies of a training face share the sum of their FER+ votes.
    batch: faces per step, over all processes. rate: peak learning rate. decay: weight decay,
    not applied to norms and biases. warmup: epochs of linear rise before the cosine.
    schedule: "cosine", or "constant", whose rate falls in the last `cooldown` of the training.
    ema: share of the old in the moving average of the weights, per step; 0 for none.
    shift, scale, light: largest relative change each way; rotation: in degrees each way.
    resample: "bilinear", or "bicubic", which leaves moved faces as sharp as unmoved ones.
    erase, mixup, cutmix: probability that a face (or a batch) is treated so. domain: probability
    that a face, after all this and out of the teachers' sight, is changed as another source might
    have it: margin 0.8 to 1.4, tone curve, contrast, blur.
    precision: of matrix products; "auto" is bfloat16 on a GPU or a CPU with AMX, else float32.
    keep: "last", or "best" (the epoch with the lowest PublicTest loss; it is then no longer
    a measurement). patience: stop after so many epochs without a better one; 0 never stops.
    """

    protocol: str = "official"
    fold: int = 0
    folds: int = 5

    model: str = "resnet-32"
    channels: int = 1
    pretrained: bool = False
    start: str = ""
    side: int = 44
    first_side: int = 0
    dropout: float = 0.2

    label_weight: float = 1.0
    vote_weight: float = 1.0
    drop_single_votes: bool = False
    smoothing: float = 0.1
    class_weights: bool = False
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.0
    teacher_temperature: float = 1.0
    teacher_views: str = "one"
    stored_answers: str = ""
    pool_votes: bool = False

    epochs: int = 45
    batch: int = 128
    optimizer: str = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 5e-4
    warmup: float = 3.0
    schedule: str = "cosine"
    cooldown: float = 0.3
    ema: float = 0.998
    clip: float = 0.0
    precision: str = "float32"
    compile: bool = False
    seed: int = 0
    keep: str = "last"
    patience: int = 0

    flip: bool = True
    rotation: float = 12.0
    scale: float = 0.125
    shift: float = 0.1
    light: float = 0.3
    resample: str = "bilinear"
    erase: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0
    domain: float = 0.0


_COMMON = Config(
    vote_weight=0.0, rate=0.05, clip=5.0, epochs=100, resample="bicubic", precision="bfloat16"
)

# For networks that learn slowly under momentum, for want of shortcuts or of a good start.
_ADAMW = replace(_COMMON, optimizer="adamw", rate=1e-3, decay=0.02)

# What both notebooks behind the paper's baselines share; where a notebook lowers the rate when
# validation stalls, ours falls along a cosine.
_KERAS = replace(
    _COMMON, side=48, channels=3, smoothing=0.0, optimizer="adamw", decay=0.0, warmup=0.0, ema=0.0,
    clip=0.0, light=0.0, erase=0.0, resample="bilinear",
)  # fmt: skip

_UNKNOWN = replace(
    _KERAS, channels=1, dropout=0.5, epochs=100, batch=64, rate=1e-3, rotation=10.0, shift=0.1,
    scale=0.1,
)  # fmt: skip

RECIPES = {
    "default": Config(
        model="resnet-32-deep", first_side=28, dropout=0.1, epochs=75, precision="bfloat16",
        rotation=10.0, resample="bicubic", erase=0.25,
    ),
    "tiny": Config(model="resnet-8", side=40, epochs=2, warmup=0.5),
    "common": _COMMON,
    "vgg19": replace(_COMMON, model="vgg19-bn", dropout=0.5),
    "sequential": replace(_ADAMW, model="sequential-full", dropout=0.5),
    "hybrid": replace(_ADAMW, model="hybrid-gap", dropout=0.5),
    "vgg19-paper": replace(
        _KERAS, protocol="random10", model="vgg19-plain", dropout=0.0, epochs=25, batch=32,
        rate=1e-4, rotation=15.0, shift=0.15, scale=0.15,
    ),
    "sequential-paper": replace(
        _UNKNOWN, model="sequential-full", epochs=50
    ),
    "hybrid-paper": replace(_UNKNOWN, model="hybrid-flatten", channels=3),
    # Of these ten, where nothing is known: what the paper's hybrid has.
    "jaiswal-paper": replace(_UNKNOWN, model="jaiswal-full", dropout=0.4),
    "kedari-paper": replace(
        _UNKNOWN, model="kedari-full", epochs=50, rate=1e-4, flip=False, rotation=0.0, shift=0.0,
        scale=0.0,
    ),
    "ferc-paper": replace(_UNKNOWN, model="ferc-full", dropout=0.0, epochs=50),
    "xception-paper": replace(
        _UNKNOWN, model="xception-mini", dropout=0.0, epochs=150, batch=32, keep="best",
        patience=50,
    ),
    "rcnn-paper": replace(
        _UNKNOWN, model="rcnn-full", channels=3, epochs=50, optimizer="sgd", rate=0.01, decay=5e-4,
        warmup=1.0, clip=5.0, rotation=0.0, shift=0.0, scale=0.0,
    ),
    "li-paper": replace(
        _UNKNOWN, model="li-full", dropout=0.25, epochs=50, batch=128, rate=1e-4, flip=False,
        rotation=0.0, shift=0.0, scale=0.0, keep="best",
    ),
    "clcm-paper": replace(_UNKNOWN, model="clcm-full"),
    "salagean-paper": replace(
        _UNKNOWN, model="salagean-full", class_weights=True, epochs=50, rotation=0.0, shift=0.0,
        scale=0.0,
    ),
    "resemotenet-paper": replace(
        _UNKNOWN, model="resemotenet-full", channels=3, epochs=80, batch=16, optimizer="sgd",
        rate=1e-3, decay=1e-4, rotation=0.0, shift=0.0, scale=0.0, keep="best", patience=15,
    ),
    "nathani-paper": replace(_UNKNOWN, model="nathani-modified"),
}  # fmt: skip
"""The recipes with a name; `parse` starts from one of them.

default: the model that mien ships. common: for any model, on the FER2013 labels alone, by which
systems are compared. vgg19, sequential, hybrid: the paper's three by the same but for dropout and,
where momentum learns slowly, the optimizer. NAME-paper: a system as its authors trained it, as far
as that is known and can be said here: the rate always falls along a cosine, momentum is Nesterov's,
nothing is sheared, and the best epoch is that with the lowest loss.
"""

_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("cosine", "constant"),
    "precision": ("float32", "bfloat16", "auto"),
    "keep": ("last", "best"),
    "channels": (1, 3),
    "resample": ("bilinear", "bicubic"),
    "teacher_views": ("one", "flip"),
}

_RANGES = {
    "side": (8, 48), "first_side": (0, 48),
    "dropout": (0, 0.99), "smoothing": (0, 0.99), "ema": (0, 0.99999), "teacher_weight": (0, 1),
    "erase": (0, 1), "mixup": (0, 1), "cutmix": (0, 1), "domain": (0, 1),
    "light": (0, 1), "shift": (0, 1),
    "scale": (0, 4), "rotation": (0, 180), "momentum": (0, 1),
    "label_weight": (0, math.inf), "vote_weight": (0, math.inf), "decay": (0, math.inf),
    "teacher_temperature": (0.01, math.inf), "rate": (1e-12, math.inf),
    "cooldown": (0.01, 1), "patience": (0, math.inf),
    "clip": (0, math.inf), "warmup": (0, math.inf),
    "fold": (0, math.inf), "folds": (2, math.inf),
    "epochs": (1, 99_999), "batch": (2, math.inf), "seed": (0, 2**31 - 1),
}  # fmt: skip


def parse(name: str, changes: Iterable[str] = ()) -> Config:
    """The named recipe with changes applied: `parse("default", ["epochs=5", "rate=0.05"])`.

    name: of `RECIPES`, or the path of a run's `recipe.json`. Raises `UserError` for an unknown
    recipe or field and for a value of the wrong kind.
    """
    if name.endswith(".json"):
        return changed(_saved(Path(name)), changes)
    if name not in RECIPES:
        raise unknown_name_error("recipe", name, RECIPES)
    return changed(RECIPES[name], changes)


def _saved(path: Path) -> Config:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError):
        raise UserError(f"{path} is no recipe, as a run folder holds one.") from None


def changed(recipe: Config, changes: Iterable[str]) -> Config:
    """The recipe with `"FIELD=VALUE"` changes applied; a `UserError` as from `parse`."""
    kinds = typing.get_type_hints(Config)
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} changes nothing; write FIELD=VALUE, as in epochs=5.")
        if field not in kinds:
            raise unknown_name_error("recipe field", field, kinds)
        values[field] = _value(field, kinds[field], text)
    return checked(replace(recipe, **values))


def checked(recipe: Config) -> Config:
    """The recipe itself, if every value makes sense; a `UserError` that names the first if not."""
    for field, choices in _CHOICES.items():
        value = getattr(recipe, field)
        if value not in choices:
            allowed = " or ".join(map(str, choices))
            raise UserError(f"Config field {field} is {value!r}; it can be {allowed}.")
    for field, (low, high) in _RANGES.items():
        value = getattr(recipe, field)
        if not (low <= value <= high and math.isfinite(value)):
            wanted = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise UserError(f"Config field {field} is {getattr(recipe, field)}; {wanted}.")
    if recipe.label_weight == recipe.vote_weight == 0:
        raise UserError("Config fields label_weight and vote_weight are both 0: nothing to learn.")
    if bool(recipe.teachers) != (recipe.teacher_weight > 0):
        raise UserError("Config fields teachers and teacher_weight go together: set both or none.")
    if recipe.stored_answers and not (recipe.teachers and recipe.first_side == 0):
        raise UserError("Config field stored_answers needs teachers, and first_side=0.")
    if recipe.domain and recipe.teachers and not recipe.stored_answers:
        raise UserError("Config field domain, which teachers must not see, needs stored_answers.")
    if recipe.fold >= recipe.folds:
        raise UserError(f"Config field fold is {recipe.fold}; it counts from 0 to folds - 1.")
    if recipe.first_side % 4 or 0 < recipe.first_side < 8:
        raise UserError(
            f"Config field first_side is {recipe.first_side}; a multiple of 4 from 8, or 0."
        )
    if recipe.first_side > recipe.side:
        raise UserError("Config field first_side is larger than side; a window only grows.")
    if recipe.mixup + recipe.cutmix > 1:
        raise UserError("Config fields mixup and cutmix are probabilities; together at most 1.")
    return recipe


def published(recipe: Config) -> dict:
    """As `to_json`, for results and model files: other runs by their names, not where they lie."""
    start = Path(recipe.start).name
    teachers = tuple(Path(path).name for path in recipe.teachers)
    stored = Path(recipe.stored_answers).name
    return to_json(replace(recipe, start=start, teachers=teachers, stored_answers=stored))


def to_json(recipe: Config) -> dict:
    """The recipe as a dictionary that JSON can hold."""
    return asdict(recipe)


def from_json(saved: dict) -> Config:
    """The recipe that `to_json` saved; a `UserError` if another version of mien wrote it."""
    known = {field.name for field in fields(Config)}
    if strange := sorted(set(saved) - known):
        raise UserError(f"The saved recipe has fields unknown to this mien: {', '.join(strange)}.")
    kinds = typing.get_type_hints(Config)
    for field, value in saved.items():
        if not _is(value, kinds[field]):
            raise UserError(f"The saved recipe's {field} is {value!r}: that is of another kind.")
    return checked(Config(**{**saved, "teachers": tuple(saved.get("teachers", ()))}))


def _is(value: object, kind: Any) -> bool:
    """Whether what JSON held is of a field's kind; a whole number is a number, too."""
    if typing.get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _value(field: str, kind: Any, text: str) -> object:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() in words:
            return words[text.lower()]
        raise UserError(f"Config field {field} is yes or no, not {text!r}.")
    if typing.get_origin(kind) is tuple:
        return tuple(part for part in text.split(",") if part)
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"Config field {field} is {wanted}, not {text!r}.") from None
