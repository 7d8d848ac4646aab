"""Replace earlier names of fields and keys in stored runs and results by the present names.

    python tools/migrate.py [FOLDER ...]

The default folders are `models/`, `results/` and the packaged models of this repository. The
fields of configs are renamed, `recipe.json` becomes `config.json`, `"recipe"` in results becomes
`"config"`, and "pupil" in names of runs becomes "student". Keys in results, logs, checkpoints and
the model cards of ONNX files are renamed, too, and fields in the commands of Markdown files.
Running the script again has no effect.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
DEFAULT_FOLDERS = (ROOT / "models", ROOT / "results", ROOT / "src" / "mien" / "classification")

FIELDS = {
    "rate": "lr", "decay": "weight_decay", "smoothing": "label_smoothing", "batch": "batch_size",
    "clip": "clip_grad", "light": "brightness_contrast", "erase": "random_erasing",
    "domain": "domain_randomization", "resample": "interpolation", "shift": "translate",
    "start": "init_from", "side": "input_size", "first_side": "initial_size",
    "keep": "select_epoch", "schedule": "lr_schedule", "warmup": "warmup_epochs",
    "cooldown": "cooldown_fraction", "ema": "ema_decay", "stored_answers": "teacher_logits",
    "teacher_views": "teacher_tta",
}  # fmt: skip
"""Old name of a config field -> current name."""

RESULT_KEYS = {
    "what": "name", "views": "tta", "window": "input_size", "trained": "provenance",
    "measured": "environment", "left_out": "excluded", "epoch_chosen_on": "epoch_selected_on",
    "fer2013_without_twins": "fer2013_without_duplicates",
    "fer2013_without_near_twins": "fer2013_without_near_duplicates",
    "proportions_by_chance": "sampling_floor", "share_error": "share_calibration_error",
    "means": "target", "in_float32": "float32", "crossvalidated": "cross_validated",
    "over_folds": "fold_statistics", "over_seeds": "seed_statistics", "all_held_out": "pooled",
    "against_as_it_is": "difference_to_baseline", "as it is": "baseline", "trained_at": "commits",
    "less": "differences", "less_calibrated": "calibrated_differences",
    "divergence, nats": "KL divergence, nats", "divergence, bits": "JS divergence, bits",
    "as_they_are": "original", "changed": "transformed", "angry_as_they_are": "angry_original",
    "way": "method", "how": "method", "copies": "duplicates_of_earlier_faces",
    "duplicate_faces": "duplicates_of_earlier_faces", "flat": "one_gray_level",
    "twins": "duplicates", "twin_in": "duplicate_in", "of": "split",
    "conflicts": "conflicting_labels",
    "agree": "plurality_agrees", "nobody": "no_votes_for_label",
    "no_votes": "no_votes_for_label",
    "what speaks for it": "supporting", "what speaks against it": "opposing",
    "the middle": "central", "by chance": "random", "blurred": "blurred_share",
    "lost": "share_lost", "seconds_a_face": "seconds_per_face",
    "learned": "fitted", "proved": "evaluation", "found": "detected",
    "where it was set": "true square", "measured geometry": "fitted geometry",
    "accuracy_before": "accuracy_unaligned", "accuracy_now": "accuracy_aligned",
    "now": "mien", "changes_twice": "changes_bidirectional", "right_raw": "accuracy_raw",
    "right_smoothed": "accuracy_smoothed", "right_twice": "accuracy_bidirectional",
    "switches": "id_switches", "a_second": "responses_per_second",
    "asked_a_second": "target_requests_per_second", "asked": "requests_due",
    "held_back_by_client": "skipped_by_client", "bare_a_second": "baseline_per_second",
    "wrong": "wrong_responses", "picture": "image", "pictures": "images",
    "pictures_a_second": "images_per_second", "frames_a_second": "frames_per_second",
    "faces_a_second": "faces_per_second", "faces_a_second_graph": "faces_per_second_graph",
    "faces_a_second_one_by_one": "faces_per_second_eager",
    "seconds_an_epoch": "seconds_per_epoch", "served_measured": "serve_environment",
    "label_share": "label_head_weight", "storage": "precision",
}  # fmt: skip
"""Old key of a result -> current key."""

KEYS_BY_FILE = {
    "pose.json": {"before": "yunet_alone", "right": "correct"},
    "canvases.json": {"start": "init_from", "rate": "lr"},
    "flags.json": {"as it is": "unchanged"},
    "load.json": {
        "share_of_bare": "fraction_of_baseline",
        "bare_per_second": "baseline_per_second",
        "sent_per_second": "target_requests_per_second",
        "sent": "requests_due",
        "delayed_by_client": "skipped_by_client",
        "waiting": "max_images_in_progress",
        "flood": "under_overload",
        "first_after": "first_request_after",
        "first_after_s": "recovery_seconds",
        "after": "after_overload",
    },
    "votes.json": {
        "exact_copies": "exact_duplicates",
        "share_by_other_panel": "other_panel_share_of_dominant_emotion",
    },
    "compare.json": {
        f"{version}: {old}": f"{version}: {new}"
        for version in ("before", "after", "bare")
        for old, new in (("1 picture", "1 image"), ("50 pictures", "50 images"))
    },
}
"""File name -> old key -> current key, for keys with another meaning in other files."""

TTA = {"one": "none", "ten": "ten_crop"}
"""Old name of a test-time augmentation -> current name."""

TEXTS = {
    "one temperature": "temperature scaling",
    "a factor and a shift for each class": "vector scaling",
    "the share of people who would give this label (FER+ raters)":
        "the share of people who would choose each emotion (FER+ votes)",
    "the share of people who would choose this label (FER+ votes)":
        "the share of people who would choose each emotion (FER+ votes)",
    "the chance that FER2013's label is this one": "the probability of each FER2013 label",
    "the probability of this FER2013 label": "the probability of each FER2013 label",
    "one NVIDIA H100, nothing beside": "one NVIDIA H100, nothing else running",
    "FER2013 Training (learned), PublicTest (proved)":
        "FER2013 Training (fitted), PublicTest (evaluation)",
}  # fmt: skip
"""Old text of a result or a model card -> current text."""

NAMES = {
    "pupil": "student",
    "as-it-is": "baseline",
    "of the hybrid: as it is": "of the hybrid: baseline",
    ", after training by ": ", trained with ",
}
"""Old text in names of runs, cases and protocols -> current text."""

_OLD_ASSIGNMENT = re.compile(rf"\b({'|'.join(FIELDS)})=(?=\S)")
"""FIELD= of an old field."""


def migrate_config(config: dict) -> dict:
    """Rename the fields of a stored config."""
    renamed = {FIELDS.get(name, name): migrate_names(value) for name, value in config.items()}
    if renamed.get("teacher_tta") == "one":
        renamed["teacher_tta"] = "none"
    return renamed


def migrate_text(text: str) -> str:
    """Replace old names of runs, cases and protocols in a text."""
    for old, new in NAMES.items():
        text = text.replace(old, new)
    return text


def migrate_names(value: object) -> object:
    """Replace old names of runs, cases and protocols in a JSON value."""
    return json.loads(migrate_text(json.dumps(value)))


def migrate_result(value: object) -> object:
    """Migrate every config and name in a JSON value, recursively."""
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


def migrate_keys(value: object, file_keys: Mapping[str, str] = MappingProxyType({})) -> object:
    """Rename the keys of a result or of a part of it.

    `top_share_gap` is removed, because it used the largest vote share, which is biased.
    """
    if isinstance(value, list):
        return [migrate_keys(item, file_keys) for item in value]
    if isinstance(value, str):
        return TEXTS.get(value, value)
    if not isinstance(value, dict):
        return value
    keys = {**RESULT_KEYS, **file_keys}
    if "nobody" in value:  # a record of the agreement of raters
        keys["share"] = "vote_share"
    if "duplicate_in" in value or "twin_in" in value:  # a record of duplicates in an audit
        keys |= {"faces": "faces_with_duplicate", "share": "fraction_of_split"}
    migrated = {}
    for key, item in value.items():
        if key in ("config", "recipe"):
            migrated[key] = item
        elif key == "views":
            migrated["tta"] = TTA.get(item, item)
        # Only the accuracies in gpu-training.json are numbers; elsewhere, these are heads.
        elif key in ("labels", "ferplus") and isinstance(item, int | float | None):
            migrated["fer2013_accuracy" if key == "labels" else "ferplus_accuracy"] = item
        elif key != "top_share_gap":
            migrated[keys.get(key, key)] = migrate_keys(item, file_keys)
    return migrated


def migrate_model(path: Path) -> None:
    """Migrate the model card in the metadata of an ONNX file; graph and weights stay the same."""
    import onnx

    proto = onnx.load(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    if "mien.card" not in metadata:
        return
    card = json.loads(metadata["mien.card"])
    migrated = migrate_keys(migrate_result(card))
    if migrated != card:
        onnx.helper.set_model_props(proto, metadata | {"mien.card": json.dumps(migrated)})
        onnx.save(proto, path)


def migrate_changes(text: str) -> str:
    """Rename the fields of all FIELD=VALUE in a text."""
    return _OLD_ASSIGNMENT.sub(lambda match: FIELDS[match[1]] + "=", migrate_text(text))


def migrate_log(text: str) -> str:
    """Rename the keys in the lines of a `log.jsonl`."""
    entries = [json.loads(line) for line in text.splitlines()]
    renamed = [
        {("lr" if key == "rate" else key): value for key, value in entry.items()}
        for entry in entries
    ]
    return "".join(json.dumps(entry) + "\n" for entry in renamed)


def migrate_checkpoint(path: Path) -> None:
    """Rename the keys in the checkpoint of an unfinished run."""
    import torch

    saved = torch.load(path, map_location="cpu", weights_only=True)
    if "average" in saved:
        saved["ema_model"] = saved.pop("average")
    for entry in saved["log"]:
        if "rate" in entry:
            entry["lr"] = entry.pop("rate")
    torch.save(saved, path)


def migrate_file(path: Path) -> None:
    """Migrate one file if its type can contain old names."""
    if path.name == "checkpoint.pt":
        migrate_checkpoint(path)
    elif path.suffix == ".onnx":
        migrate_model(path)
    elif path.suffix in (".json", ".jsonl", ".md"):
        text = path.read_text(encoding="utf-8")
        migrated = migrate_text_file(path.name, text)
        if migrated != text:
            path.write_text(migrated, encoding="utf-8")


def migrate_text_file(name: str, text: str) -> str:
    """Migrate the text of a JSON, JSON Lines or Markdown file with this file name."""
    if name in ("recipe.json", "config.json"):
        return json.dumps(migrate_config(json.loads(text)), indent=1) + "\n"
    if name == "log.jsonl":
        return migrate_log(text)
    if name.endswith(".json"):
        value = json.loads(text)
        migrated = migrate_keys(migrate_result(value), KEYS_BY_FILE.get(name, {}))
        # The layout of a file without old names is kept.
        return text if migrated == value else json.dumps(migrated, indent=1) + "\n"
    return migrate_changes(text)


def migrate_folder(folder: Path) -> None:
    """Migrate all files in a folder and its subfolders, and rename files and folders."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        migrate_file(path)
        if path.name == "recipe.json":
            path.rename(path.with_name("config.json"))
    for path in sorted(folder.rglob("*"), reverse=True):
        if (name := migrate_text(path.name)) != path.name:
            path.rename(path.with_name(name))
    for old, new in TTA.items():
        for path in folder.glob(f"run-*-{old}.json"):
            path.rename(path.with_name(path.name.replace(f"-{old}.json", f"-{new}.json")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=DEFAULT_FOLDERS)
    folders = parser.parse_args().folders
    for folder in folders:
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder; give a folder with runs or results.")
    for folder in folders:
        migrate_folder(folder)
