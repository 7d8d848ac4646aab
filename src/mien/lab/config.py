"""The configuration of a training, and the recipes: named configurations.

A config describes a training completely, except for the path of the data.
"""

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
    """All settings of a training; saved as `config.json` in its run folder.

    Attributes:
        protocol: how the faces are split into training and evaluation set, a name in
            `mien.lab.protocols.PROTOCOLS`.
        fold: the fold that is held out, from 0, where the protocol has folds.
        folds: number of folds.
        model: family and variant, such as `"resnet-32"`.
        channels: 1 (gray) or 3 (gray, repeated).
        pretrained: start from ImageNet weights, where the family has them; downloads them once.
        init_from: run folder whose weights initialize the network; empty for random weights.
        input_size: width and height in pixels of the central crop that the network is trained
            on; FER2013's faces have 48.
        initial_size: progressive resizing: the crop is shrunk to this size in the first epoch
            (a multiple of 4) and grows to `input_size` over two thirds of the epochs. 0 disables.
        dropout: probability of dropout; where it applies depends on the model.
        label_weight: weight of the loss of the FER2013 labels; 0 disables it.
        vote_weight: weight of the loss of the FER+ votes; 0 disables it.
        drop_single_votes: ignore an emotion with one vote of ten, as Barsoum et al. 2016 do.
        label_smoothing: fraction of the label distribution that is spread over all emotions.
        class_weights: weight faces inversely to the frequency of their label.
        teachers: run folders whose averaged outputs are distilled.
        teacher_weight: weight of the distillation loss, 0 to 1; the other losses get the rest.
        teacher_temperature: temperature of the distillation, by which the logits of teachers and
            student are divided.
        teacher_tta: test-time augmentation of the teachers, "none" or "flip".
        teacher_logits: folder of stored teacher logits (`mien distill`), which replace running
            the teachers. The augmentation must be the one that the logits were stored with.
        pool_votes: pixel-identical training faces share the sum of their FER+ votes.
        epochs: number of epochs.
        batch_size: faces per step, over all processes.
        optimizer: "sgd" (with Nesterov momentum) or "adamw".
        lr: peak learning rate.
        momentum: of SGD.
        weight_decay: of weights; norms and biases have none.
        warmup_epochs: epochs of linear warmup.
        lr_schedule: "cosine", or "constant" until a final cooldown.
        cooldown_fraction: last fraction of the training, in which the constant schedule falls to
            zero.
        ema_decay: decay per step of the moving average of the weights; 0 disables it.
        clip_grad: maximum norm of the gradient; 0 disables clipping.
        precision: data type of matrix products: "float32", "bfloat16", or "auto" (bfloat16 on
            GPUs and on CPUs with AMX, float32 on others).
        compile: use `torch.compile`.
        seed: of everything random.
        select_epoch: the epoch whose weights are the result: "last", or "best" for the one with
            the lowest PublicTest loss (results on PublicTest are then optimistically biased).
        patience: early stopping after this many epochs without a lower PublicTest loss; 0
            disables it.
        flip: flip half of the faces horizontally.
        rotation: largest rotation, in degrees.
        scale: largest change of size; 0.25 enlarges or shrinks by a factor of up to 1.25.
        translate: largest translation, as a fraction of the width and height.
        brightness_contrast: largest relative change of contrast, and largest change of brightness
            as a fraction of the standard deviation of all pixels.
        interpolation: of geometric augmentation: "bilinear" or the sharper "bicubic".
        random_erasing: probability per face of filling a rectangle with noise.
        mixup: probability per batch of blending pairs of faces.
        cutmix: probability per batch of replacing a rectangle of each face by another face.
        domain_randomization: probability per face of imitating another source of faces: margin
            0.8 to 1.4, tone curve, contrast, blur. Applied last; teachers do not get it.
    """

    protocol: str = "official"
    fold: int = 0
    folds: int = 5

    model: str = "resnet-32"
    channels: int = 1
    pretrained: bool = False
    init_from: str = ""
    input_size: int = 44
    initial_size: int = 0
    dropout: float = 0.2

    label_weight: float = 1.0
    vote_weight: float = 1.0
    drop_single_votes: bool = False
    label_smoothing: float = 0.1
    class_weights: bool = False
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.0
    teacher_temperature: float = 1.0
    teacher_tta: str = "none"
    teacher_logits: str = ""
    pool_votes: bool = False

    epochs: int = 45
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 3.0
    lr_schedule: str = "cosine"
    cooldown_fraction: float = 0.3
    ema_decay: float = 0.998
    clip_grad: float = 0.0
    precision: str = "float32"
    compile: bool = False
    seed: int = 0
    select_epoch: str = "last"
    patience: int = 0

    flip: bool = True
    rotation: float = 12.0
    scale: float = 0.125
    translate: float = 0.1
    brightness_contrast: float = 0.3
    interpolation: str = "bilinear"
    random_erasing: float = 0.5
    mixup: float = 0.0
    cutmix: float = 0.0
    domain_randomization: float = 0.0


_COMMON = Config(
    vote_weight=0.0,
    lr=0.05,
    clip_grad=5.0,
    epochs=100,
    interpolation="bicubic",
    precision="bfloat16",
)

# For networks that learn slowly with SGD, without shortcuts or pretrained weights.
_ADAMW = replace(_COMMON, optimizer="adamw", lr=1e-3, weight_decay=0.02)

# Settings that the two notebooks behind the paper's baselines share, except that they reduce the
# learning rate on plateaus of the validation loss, and here it follows a cosine.
_KERAS = replace(
    _COMMON, input_size=48, channels=3, label_smoothing=0.0, optimizer="adamw", weight_decay=0.0,
    warmup_epochs=0.0, ema_decay=0.0,
    clip_grad=0.0, brightness_contrast=0.0, random_erasing=0.0, interpolation="bilinear",
)  # fmt: skip

_UNSTATED = replace(
    _KERAS, channels=1, dropout=0.5, epochs=100, batch_size=64, lr=1e-3, rotation=10.0,
    translate=0.1,
    scale=0.1,
)  # fmt: skip

RECIPES = {
    "default": Config(
        model="resnet-32-deep", initial_size=28, dropout=0.1, epochs=75, precision="bfloat16",
        rotation=10.0, interpolation="bicubic", random_erasing=0.25,
    ),
    "tiny": Config(model="resnet-8", input_size=40, epochs=2, warmup_epochs=0.5),
    "common": _COMMON,
    "vgg19": replace(_COMMON, model="vgg19-bn", dropout=0.5),
    "sequential": replace(_ADAMW, model="sequential-full", dropout=0.5),
    "hybrid": replace(_ADAMW, model="hybrid-gap", dropout=0.5),
    "vgg19-paper": replace(
        _KERAS, protocol="random10", model="vgg19-plain", dropout=0.0, epochs=25, batch_size=32,
        lr=1e-4, rotation=15.0, translate=0.15, scale=0.15,
    ),
    "sequential-paper": replace(
        _UNSTATED, model="sequential-full", epochs=50
    ),
    "hybrid-paper": replace(_UNSTATED, model="hybrid-flatten", channels=3),
    # For these ten systems, unstated settings are those of the paper's hybrid.
    "jaiswal-paper": replace(_UNSTATED, model="jaiswal-full", dropout=0.4),
    "kedari-paper": replace(
        _UNSTATED, model="kedari-full", epochs=50, lr=1e-4, flip=False, rotation=0.0, translate=0.0,
        scale=0.0,
    ),
    "ferc-paper": replace(_UNSTATED, model="ferc-full", dropout=0.0, epochs=50),
    "xception-paper": replace(
        _UNSTATED, model="xception-mini", dropout=0.0, epochs=150, batch_size=32,
        select_epoch="best",
        patience=50,
    ),
    "rcnn-paper": replace(
        _UNSTATED, model="rcnn-full", channels=3, epochs=50, optimizer="sgd", lr=0.01,
        weight_decay=5e-4,
        warmup_epochs=1.0, clip_grad=5.0, rotation=0.0, translate=0.0, scale=0.0,
    ),
    "li-paper": replace(
        _UNSTATED, model="li-full", dropout=0.25, epochs=50, batch_size=128, lr=1e-4, flip=False,
        rotation=0.0, translate=0.0, scale=0.0, select_epoch="best",
    ),
    "clcm-paper": replace(_UNSTATED, model="clcm-full"),
    "salagean-paper": replace(
        _UNSTATED, model="salagean-full", class_weights=True, epochs=50, rotation=0.0,
        translate=0.0,
        scale=0.0,
    ),
    "resemotenet-paper": replace(
        _UNSTATED, model="resemotenet-full", channels=3, epochs=80, batch_size=16, optimizer="sgd",
        lr=1e-3, weight_decay=1e-4, rotation=0.0, translate=0.0, scale=0.0, select_epoch="best",
        patience=15,
    ),
    "nathani-paper": replace(_UNSTATED, model="nathani-modified"),
}  # fmt: skip
"""Name -> config, for `mien train RECIPE`.

- default: the model that mien ships.
- tiny: a quick trial.
- common: for any model, trained on the FER2013 labels alone; the leaderboard uses it for all.
- vgg19, sequential, hybrid: the paper's three models, trained as in `common` except for dropout
  and, where SGD learns slowly, the optimizer.
- NAME-paper: a system, trained as its authors state. These recipes differ from the papers in four
  points: the learning rate follows a cosine, SGD uses Nesterov momentum, shear is not applied, and
  the best epoch is the one with the lowest loss.
"""

_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "lr_schedule": ("cosine", "constant"),
    "precision": ("float32", "bfloat16", "auto"),
    "select_epoch": ("last", "best"),
    "channels": (1, 3),
    "interpolation": ("bilinear", "bicubic"),
    "teacher_tta": ("none", "flip"),
}

_RANGES = {
    "input_size": (8, 48), "initial_size": (0, 48),
    "dropout": (0, 0.99), "label_smoothing": (0, 0.99), "ema_decay": (0, 0.99999),
    "teacher_weight": (0, 1),
    "random_erasing": (0, 1), "mixup": (0, 1), "cutmix": (0, 1), "domain_randomization": (0, 1),
    "brightness_contrast": (0, 1), "translate": (0, 1),
    "scale": (0, 4), "rotation": (0, 180), "momentum": (0, 1),
    "label_weight": (0, math.inf), "vote_weight": (0, math.inf), "weight_decay": (0, math.inf),
    "teacher_temperature": (0.01, math.inf), "lr": (1e-12, math.inf),
    "cooldown_fraction": (0.01, 1), "patience": (0, math.inf),
    "clip_grad": (0, math.inf), "warmup_epochs": (0, math.inf),
    "fold": (0, math.inf), "folds": (2, math.inf),
    "epochs": (1, 99_999), "batch_size": (2, math.inf), "seed": (0, 2**31 - 1),
}  # fmt: skip


def parse(recipe: str, changes: Iterable[str] = ()) -> Config:
    """Get the config of a recipe, with changes.

    Args:
        recipe: a name in `RECIPES`, or the path of a run's `config.json`.
        changes: texts of the form `"FIELD=VALUE"`.

    Raises:
        UserError: unknown recipe or field, or invalid value.

    Example:
        ```python
        config = parse("default", ["epochs=5", "lr=0.05"])
        ```
    """
    if recipe.endswith(".json"):
        return changed(_saved(Path(recipe)), changes)
    if recipe not in RECIPES:
        raise unknown_name_error("recipe", recipe, RECIPES)
    return changed(RECIPES[recipe], changes)


def _saved(path: Path) -> Config:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, TypeError):
        raise UserError(f"{path} is not a config. Use the config.json of a run folder.") from None


def changed(config: Config, changes: Iterable[str]) -> Config:
    """Apply changes of the form `"FIELD=VALUE"` to a config.

    Raises:
        UserError: unknown field or invalid value.
    """
    types = typing.get_type_hints(Config)
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} has no value. Write FIELD=VALUE, such as epochs=5.")
        if field not in types:
            raise unknown_name_error("config field", field, types)
        values[field] = _value(field, types[field], text)
    return checked(replace(config, **values))


def checked(config: Config) -> Config:
    """Check all values of a config.

    Returns:
        The config itself.

    Raises:
        UserError: the first invalid value or combination of values.
    """
    for field, choices in _CHOICES.items():
        value = getattr(config, field)
        if value not in choices:
            allowed = " or ".join(map(str, choices))
            raise UserError(f"{field} is {value!r}. It must be {allowed}.")
    for field, (low, high) in _RANGES.items():
        value = getattr(config, field)
        if not (low <= value <= high and math.isfinite(value)):
            allowed = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
            raise UserError(f"{field} is {value}. It must be {allowed}.")
    if error := _inconsistency(config):
        raise UserError(error)
    return config


def _inconsistency(config: Config) -> str:
    """The message for the first invalid combination of fields, or an empty string."""
    if config.label_weight == config.vote_weight == 0:
        return "label_weight and vote_weight are both 0. Set one of them above 0."
    if bool(config.teachers) != (config.teacher_weight > 0):
        return "Only one of teachers and teacher_weight is set. Set both or neither."
    if config.teacher_logits and not (config.teachers and config.initial_size == 0):
        return "teacher_logits needs teachers and initial_size=0. Set both, or no teacher_logits."
    if config.domain_randomization and config.teachers and not config.teacher_logits:
        return "domain_randomization with teachers needs stored logits. Set teacher_logits."
    if config.fold >= config.folds:
        return f"fold is {config.fold}. It must be from 0 to {config.folds - 1} (folds - 1)."
    if config.initial_size % 4 or 0 < config.initial_size < 8:
        return f"initial_size is {config.initial_size}. It must be a multiple of 4 from 8, or 0."
    if config.initial_size > config.input_size:
        return "initial_size is larger than input_size. Choose a smaller one."
    if config.mixup + config.cutmix > 1:
        return "mixup and cutmix are probabilities. Their sum must be at most 1."
    return ""


def published(config: Config) -> dict:
    """The config as a dictionary for results and model files: run folders without their parents."""
    return to_json(
        replace(
            config,
            init_from=Path(config.init_from).name,
            teachers=tuple(Path(path).name for path in config.teachers),
            teacher_logits=Path(config.teacher_logits).name,
        )
    )


def to_json(config: Config) -> dict:
    """The config as a dictionary of JSON values."""
    return asdict(config)


def from_json(saved: dict) -> Config:
    """The config that `to_json` saved; absent fields have their default.

    Raises:
        UserError: unknown field, or value of the wrong type.
    """
    known = {field.name for field in fields(Config)}
    if unexpected := sorted(set(saved) - known):
        raise UserError(f"The saved config has unknown fields: {', '.join(unexpected)}.")
    types = typing.get_type_hints(Config)
    for field, value in saved.items():
        if not _is(value, types[field]):
            raise UserError(f"The saved config's {field} is {value!r}, which has the wrong type.")
    return checked(Config(**{**saved, "teachers": tuple(saved.get("teachers", ()))}))


def _is(value: object, expected: Any) -> bool:
    """Whether a JSON value has a field's type; an integer is also a float."""
    if typing.get_origin(expected) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or expected is bool:
        return expected is bool and isinstance(value, bool)
    return isinstance(value, int | float) if expected is float else isinstance(value, expected)


def _value(field: str, expected: Any, text: str) -> object:
    if expected is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() in words:
            return words[text.lower()]
        raise UserError(f"{field} is {text!r}. It must be yes or no.")
    if typing.get_origin(expected) is tuple:
        return tuple(item for item in text.split(",") if item)
    try:
        return expected(text)
    except ValueError:
        allowed = "a whole number" if expected is int else "a number"
        raise UserError(f"{field} is {text!r}. It must be {allowed}.") from None
