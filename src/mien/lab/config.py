"""The configuration of a training, and the recipes, which are named configurations.

A config describes a training completely, except for the data, the device and a time limit.
"""

from __future__ import annotations

import json
import math
import sys
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
        protocol: How the faces are split into training and evaluation set: a name in
            `mien.lab.protocols.PROTOCOLS`.
        fold: Index of the fold that is held out, from 0; ignored by protocols without folds.
        folds: Number of folds.
        model: Family and variant, such as `"resnet-32"`.
        channels: 1 for gray images, or 3 for gray images repeated in each channel.
        pretrained: Start from ImageNet weights, which are downloaded once. Not every family has
            them.
        init_from: Run folder whose weights initialize the network; empty for new weights.
        input_size: Width and height in pixels of the central crop that the network receives.
            FER2013's faces have 48.
        initial_size: Width and height in pixels to which the crop is resized in the first epoch,
            a multiple of 4 from 8. They grow to `input_size` over two thirds of the epochs
            (progressive resizing). 0 disables resizing.
        dropout: Probability of dropout; where it applies depends on the model.
        label_weight: Weight of the loss on FER2013 labels; 0 disables it.
        vote_weight: Weight of the loss on FER+ votes; 0 disables it.
        drop_single_votes: Ignore emotions with a single vote for a face, as Barsoum et al. 2016
            do.
        label_smoothing: Fraction of the label distribution that is spread evenly over the
            emotions.
        class_weights: In the loss on labels, weight faces inversely to the frequency of their
            label.
        teachers: Run folders of the networks whose mean probabilities are distilled.
        teacher_weight: Weight of the distillation loss, 0 to 1. The sum of the other losses has
            the weight 1 - `teacher_weight`.
        teacher_temperature: Temperature by which the logits of teachers and student are divided
            in the distillation loss.
        teacher_tta: Test-time augmentation of the teachers, "none" or "flip"; not used with
            `teacher_logits`.
        teacher_logits: Folder of stored teacher logits (`mien distill`) to use instead of running
            the teachers. The augmentation must be the one that the logits were stored with.
        pool_votes: Give pixel-identical training faces the sum of their FER+ votes.
        epochs: Number of epochs.
        batch_size: Faces per step, over all processes.
        optimizer: "sgd" (with Nesterov momentum) or "adamw".
        lr: Peak learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay; parameters of normalization layers and biases have none.
        warmup_epochs: Number of epochs in which the learning rate rises linearly.
        lr_schedule: "cosine", or "constant" with a final cooldown.
        cooldown_fraction: Fraction of the training after the warmup that the cooldown of the
            constant schedule takes.
        ema_decay: Decay per step of the exponential moving average of the weights, which is what
            is evaluated and saved; 0 disables it.
        clip_grad: Maximum norm of the gradient; 0 disables clipping.
        precision: Data type of convolutions and matrix products: "float32", "bfloat16", or "auto"
            for bfloat16 on CUDA GPUs and on CPUs with AMX, and float32 on other devices.
        compile: Use `torch.compile`.
        seed: Seed of the initial weights, the order of the faces, augmentation and dropout.
        select_epoch: The epoch whose weights are the result: "last", or "best" for the one with
            the lowest loss on `val`. Results on `val` are then optimistically biased.
        patience: Stop after this many epochs without a lower loss on `val`; 0 disables early
            stopping.
        flip: Flip faces horizontally with probability 1/2.
        rotation: Largest rotation in either direction, in degrees.
        scale: Largest change of size; 0.25 enlarges or shrinks by a factor of up to 1.25.
        translate: Largest translation, as a fraction of the width and height of the face.
        brightness_contrast: Largest relative change of contrast, and largest change of brightness
            as a fraction of the standard deviation of all pixels.
        interpolation: Interpolation in rotation, scaling, translation and resizing: "bilinear", or
            the sharper "bicubic".
        random_erasing: Probability per face of filling a rectangle with noise.
        mixup: Probability per batch of blending each face with another of the batch.
        cutmix: Probability per batch of replacing a rectangle of each face by that of another.
        domain_randomization: Probability per face of imitating another source of faces by changes
            of crop size, blur, tone curve, contrast and brightness. Only the student receives
            these faces, not its teachers.
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

    @property
    def model_family(self) -> str:
        """The family of the model, such as `"resnet"` for `"resnet-32"`."""
        return self.model.partition("-")[0]


_COMMON = Config(
    vote_weight=0.0,
    lr=0.05,
    clip_grad=5.0,
    epochs=100,
    interpolation="bicubic",
    precision="bfloat16",
)

# For networks that learn slowly with SGD.
_ADAMW = replace(_COMMON, optimizer="adamw", lr=1e-3, weight_decay=0.02)

# Settings that are common to the two Keras notebooks whose results match the paper's tables for
# VGG19 and Sequential. The notebooks also reduce the learning rate when the validation loss stops
# falling, and stop early.
_KERAS = replace(
    _COMMON, input_size=48, channels=3, label_smoothing=0.0, optimizer="adamw", weight_decay=0.0,
    warmup_epochs=0.0, ema_decay=0.0, clip_grad=0.0, brightness_contrast=0.0, random_erasing=0.0,
    interpolation="bilinear",
)  # fmt: skip

# Settings of the Sequential notebook, with dropout. They are also used where a system's authors
# state none.
_UNSTATED = replace(
    _KERAS, channels=1, dropout=0.5, epochs=100, batch_size=64, lr=1e-3, rotation=10.0,
    translate=0.1, scale=0.1,
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
    "sequential-paper": replace(_UNSTATED, model="sequential-full", epochs=50),
    "hybrid-paper": replace(_UNSTATED, model="hybrid-flatten", channels=3),
    "jaiswal-paper": replace(_UNSTATED, model="jaiswal-full", dropout=0.4),
    "kedari-paper": replace(
        _UNSTATED, model="kedari-full", epochs=50, lr=1e-4, flip=False, rotation=0.0, translate=0.0,
        scale=0.0,
    ),
    "ferc-paper": replace(_UNSTATED, model="ferc-full", dropout=0.0, epochs=50),
    "xception-paper": replace(
        _UNSTATED, model="xception-mini", dropout=0.0, epochs=150, batch_size=32,
        select_epoch="best", patience=50,
    ),
    "rcnn-paper": replace(
        _UNSTATED, model="rcnn-full", channels=3, epochs=50, optimizer="sgd", lr=0.01,
        weight_decay=5e-4, warmup_epochs=1.0, clip_grad=5.0, rotation=0.0, translate=0.0, scale=0.0,
    ),
    "li-paper": replace(
        _UNSTATED, model="li-full", dropout=0.25, epochs=50, batch_size=128, lr=1e-4, flip=False,
        rotation=0.0, translate=0.0, scale=0.0, select_epoch="best",
    ),
    "clcm-paper": replace(_UNSTATED, model="clcm-full"),
    "salagean-paper": replace(
        _UNSTATED, model="salagean-full", class_weights=True, epochs=50, rotation=0.0,
        translate=0.0, scale=0.0,
    ),
    "resemotenet-paper": replace(
        _UNSTATED, model="resemotenet-full", channels=3, epochs=80, batch_size=16, optimizer="sgd",
        lr=1e-3, weight_decay=1e-4, rotation=0.0, translate=0.0, scale=0.0, select_epoch="best",
        patience=15,
    ),
    "nathani-paper": replace(_UNSTATED, model="nathani-modified"),
}  # fmt: skip
"""Name -> config, for `mien train RECIPE`.

- default: the network that mien ships.
- tiny: a small network and two epochs, to try a training.
- common: for comparing networks, trained on FER2013 labels only. The leaderboard uses it for every
  network, with fewer epochs.
- vgg19, sequential, hybrid: the paper's three networks, with the settings of `common` except for
  dropout and, where SGD learns slowly, the optimizer with its learning rate and weight decay.
- NAME-paper: a system with the settings that its authors state. These recipes differ from the
  sources in five points: the learning rate follows a cosine, SGD has Nesterov momentum, faces are
  not sheared, the initial weights are random, and the best epoch is the one with the lowest loss.
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
"""Field -> allowed values."""

MAX_WHOLE_NUMBER = 1e10
"""Largest value of a whole-number field without a finite one in `_RANGES`; fits into 64 bits."""

_RANGES = {
    "input_size": (8, 48), "initial_size": (0, 48),
    "dropout": (0, 0.99), "label_smoothing": (0, 0.99), "ema_decay": (0, 0.99999),
    "teacher_weight": (0, 1), "random_erasing": (0, 1), "mixup": (0, 1), "cutmix": (0, 1),
    "domain_randomization": (0, 1), "brightness_contrast": (0, 1), "translate": (0, 1),
    "scale": (0, 4), "rotation": (0, 180), "momentum": (0, 1),
    "label_weight": (0, math.inf), "vote_weight": (0, math.inf), "weight_decay": (0, math.inf),
    "teacher_temperature": (0.01, math.inf), "lr": (1e-12, math.inf),
    "cooldown_fraction": (0.01, 1), "patience": (0, math.inf),
    "clip_grad": (0, math.inf), "warmup_epochs": (0, math.inf),
    "fold": (0, math.inf), "folds": (2, math.inf),
    "epochs": (1, 99_999), "batch_size": (2, math.inf), "seed": (0, 2**31 - 1),
}  # fmt: skip
"""Field -> smallest and largest value.

An infinite largest value stands for the largest finite float, or for `MAX_WHOLE_NUMBER`."""


def parse(recipe: str, changes: Iterable[str] = ()) -> Config:
    """Return the config of a recipe, with changes applied to it.

    Args:
        recipe: A name in `RECIPES`, or the path of a run's `config.json`.
        changes: Changes of single fields, as texts `"FIELD=VALUE"`.

    Raises:
        UserError: The recipe or a field is unknown, a value is invalid, or the file cannot be read.

    Example:
        ```python
        config = parse("default", ["epochs=5", "lr=0.05"])
        ```
    """
    if recipe.endswith(".json"):
        return apply_changes(_read(Path(recipe)), changes)
    if recipe not in RECIPES:
        raise unknown_name_error("recipe", recipe, RECIPES)
    return apply_changes(RECIPES[recipe], changes)


def _read(path: Path) -> Config:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        saved = None
    if not isinstance(saved, dict):
        raise UserError(f"{path} is not a config. Use the config.json of a run folder.")
    return from_json(saved)


def apply_changes(config: Config, changes: Iterable[str]) -> Config:
    """Return a config with changes of the form `"FIELD=VALUE"` applied to it.

    Raises:
        UserError: A field is unknown, or a value is invalid.
    """
    types = typing.get_type_hints(Config)
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"{change!r} has no value. Write FIELD=VALUE, such as epochs=5.")
        if field not in types:
            raise unknown_name_error("config field", field, types)
        values[field] = _parse_value(field, types[field], text)
    return checked(replace(config, **values))


def checked(config: Config) -> Config:
    """Check all values of a config, and return the config unchanged.

    Raises:
        UserError: A value or a combination of values is invalid.
    """
    for field, choices in _CHOICES.items():
        value = getattr(config, field)
        if value not in choices:
            allowed = " or ".join(map(str, choices))
            raise UserError(f"{field} is {value!r}. It must be {allowed}.")
    for field, (low, high) in _RANGES.items():
        value = getattr(config, field)
        type_maximum = MAX_WHOLE_NUMBER if isinstance(value, int) else sys.float_info.max
        maximum = min(high, type_maximum)
        if not low <= value <= maximum:
            if math.isinf(high) and value < low:
                allowed = f"at least {low:g}"
            else:
                allowed = f"from {low:g} to {maximum:.12g}"
            raise UserError(f"{field} is {str(value)[:50]}. It must be {allowed}.")
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
        return f"initial_size is {config.initial_size}. It must be 0, or a multiple of 4 from 8."
    if config.initial_size > config.input_size:
        return "initial_size is larger than input_size. Choose a smaller initial_size."
    if config.mixup + config.cutmix > 1:
        total = config.mixup + config.cutmix
        return f"The sum of mixup and cutmix is {total:g}. It must be at most 1."
    return ""


def to_public_json(config: Config) -> dict:
    """The config as `to_json`, but with names of folders instead of their paths.

    Results and model files contain it, because a path can contain the name of a user.
    """
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
    """The config that `to_json` converted to this dictionary; absent fields have their defaults.

    Raises:
        UserError: A field is unknown, or a value is invalid or has the wrong type.
    """
    if unknown := sorted(set(saved) - {field.name for field in fields(Config)}):
        raise UserError(f"The saved config has unknown fields: {', '.join(unknown)[:200]}.")
    types = typing.get_type_hints(Config)
    for field, value in saved.items():
        if not _has_type(value, types[field]):
            shown = repr(value)[:50]
            raise UserError(f"The saved config's {field} is {shown}, which has the wrong type.")
    return checked(Config(**{**saved, "teachers": tuple(saved.get("teachers", ()))}))


def _has_type(value: object, expected: Any) -> bool:
    """Whether a JSON value has the type of a field; an integer is valid for a float."""
    if typing.get_origin(expected) is tuple:
        return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    if isinstance(value, bool) or expected is bool:  # for Python, a bool is also an int
        return isinstance(value, bool) and expected is bool
    return isinstance(value, int | float) if expected is float else isinstance(value, expected)


def _parse_value(field: str, expected: Any, text: str) -> object:
    if expected is bool:
        values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() in values:
            return values[text.lower()]
        raise UserError(f"{field} is {text!r}. It must be yes or no.")
    if typing.get_origin(expected) is tuple:
        return tuple(item for item in text.split(",") if item)
    try:
        return expected(text)
    except ValueError:
        allowed = "a whole number" if expected is int else "a number"
        raise UserError(f"{field} is {text!r}. It must be {allowed}.") from None
