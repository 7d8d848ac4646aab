"""Rewrite stored runs and results from the names of mien 0.1 to the present ones.

    python tools/migrate.py [FOLDER ...]

Without an argument: `models/` and `results/` of this repository. Configs get the new names of their
fields, `recipe.json` becomes `config.json`, `"recipe"` in results becomes `"config"`, and runs
named "pupil" are named "student". Running it twice changes nothing more.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

FIELDS = {
    "rate": "lr", "decay": "weight_decay", "smoothing": "label_smoothing", "batch": "batch_size",
    "clip": "clip_grad", "light": "brightness_contrast", "erase": "random_erasing",
    "domain": "domain_randomization", "resample": "interpolation", "shift": "translate",
    "start": "init_from", "side": "input_size", "first_side": "initial_size",
    "keep": "select_epoch", "schedule": "lr_schedule", "warmup": "warmup_epochs",
    "cooldown": "cooldown_fraction", "ema": "ema_decay", "stored_answers": "teacher_logits",
    "teacher_views": "teacher_tta",
}  # fmt: skip
"""Old name of a config's field -> its present name."""

_CHANGE = re.compile(rf"\b({'|'.join(FIELDS)})=(?=\S)")


def migrate_config(config: dict) -> dict:
    """A saved config with the present names of its fields."""
    renamed = {FIELDS.get(name, name): migrate_names(value) for name, value in config.items()}
    if renamed.get("teacher_tta") == "one":
        renamed["teacher_tta"] = "none"
    return renamed


def migrate_names(value: object) -> object:
    """The names of runs in a JSON value: "pupil" -> "student"."""
    return json.loads(json.dumps(value).replace("pupil", "student"))


def migrate_result(value: object) -> object:
    """A JSON value with every config in it migrated, recursively."""
    if isinstance(value, list):
        return [migrate_result(item) for item in value]
    if not isinstance(value, dict):
        return migrate_names(value)
    migrated = {}
    for name, item in value.items():
        if name in ("recipe", "config") and isinstance(item, dict):
            migrated["config"] = migrate_config(item)
        elif name == "augmentation" and isinstance(item, dict):
            migrated[name] = migrate_config(item)
        elif name == "changes" and isinstance(item, list):
            migrated[name] = [migrate_changes(change) for change in item]
        else:
            migrated[str(migrate_names(name))] = migrate_result(item)
    return migrated


def migrate_changes(text: str) -> str:
    """The present names in texts that contain FIELD=VALUE."""
    return _CHANGE.sub(lambda match: FIELDS[match[1]] + "=", text).replace("pupil", "student")


def migrate_log(text: str) -> str:
    """The lines of a `log.jsonl`."""
    entries = [json.loads(line) for line in text.splitlines()]
    renamed = [{"lr" if k == "rate" else k: v for k, v in entry.items()} for entry in entries]
    return "".join(json.dumps(entry) + "\n" for entry in renamed)


def migrate_checkpoint(path: Path) -> None:
    """The checkpoint of an unfinished run."""
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=True)
    if "average" in saved:
        saved["ema_model"] = saved.pop("average")
    for entry in saved["log"]:
        if "rate" in entry:
            entry["lr"] = entry.pop("rate")
    torch.save(saved, path)


def migrate_file(path: Path) -> None:
    """One file, if it is of a kind that has old names."""
    if path.name == "checkpoint.pt":
        return migrate_checkpoint(path)
    if path.suffix not in (".json", ".jsonl", ".md"):
        return None
    text = path.read_text(encoding="utf-8")
    if path.name == "recipe.json" or path.name == "config.json":
        new = json.dumps(migrate_config(json.loads(text)), indent=1) + "\n"
    elif path.name == "log.jsonl":
        new = migrate_log(text)
    elif path.suffix == ".json":
        value = json.loads(text)
        new = json.dumps(migrate_result(value), indent=1) + "\n"
        if json.loads(new) == value:
            new = text
    else:
        new = migrate_changes(text)
    if new != text:
        path.write_text(new, encoding="utf-8")
    return None


def migrate_folder(folder: Path) -> None:
    """All files below a folder, and the names of files and folders."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        migrate_file(path)
        if path.name == "recipe.json":
            path.rename(path.with_name("config.json"))
    for path in sorted(folder.rglob("*pupil*"), reverse=True):
        path.rename(path.with_name(path.name.replace("pupil", "student")))


if __name__ == "__main__":
    for argument in map(Path, sys.argv[1:] or (ROOT / "models", ROOT / "results")):
        migrate_folder(argument)
