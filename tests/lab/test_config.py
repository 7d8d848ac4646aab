"""Recipes, changes of their fields, and configs in JSON."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.lab.config import RECIPES, Config, checked, from_json, parse, to_json, to_public_json


def test_parse_returns_the_named_config():
    for name, config in RECIPES.items():
        assert parse(name) == config
        assert checked(config) is config


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("epochs=5", "epochs", 5),
        ("lr=0.05", "lr", 0.05),
        ("lr=1e-3", "lr", 1e-3),
        ("flip=no", "flip", False),
        ("flip=True", "flip", True),
        ("compile=1", "compile", True),
        ("class_weights=yes", "class_weights", True),
        ("model=resnet-8", "model", "resnet-8"),
        ("optimizer=adamw", "optimizer", "adamw"),
        ("channels=3", "channels", 3),
        ("teachers=", "teachers", ()),
    ],
)
def test_a_change_gets_the_type_of_its_field(change, field, value):
    parsed = getattr(parse("default", [change]), field)
    assert parsed == value
    assert type(parsed) is type(value)


def test_teachers_and_their_weight_are_set_together():
    config = parse("default", ["teachers=runs/a,runs/b", "teacher_weight=0.5"])
    assert config.teachers == ("runs/a", "runs/b")


def test_the_last_of_two_changes_wins():
    config = parse("tiny", ["epochs=5", "epochs=7"])
    assert config == replace(RECIPES["tiny"], epochs=7)


@pytest.mark.parametrize(
    ("recipe", "changes", "expected_text"),
    [
        ("defualt", [], "'default'"),
        ("zzz", [], "default, tiny, "),
        ("default", ["epoch=5"], "'epochs'"),
        ("default", ["rate=1"], "'rate'"),
        ("default", ["epochs"], "FIELD=VALUE"),
        ("default", ["epochs=five"], "epochs is 'five'"),
        ("default", ["epochs=1.5"], "epochs is '1.5'"),
        ("default", ["lr=fast"], "lr is 'fast'"),
        ("default", ["flip=perhaps"], "yes or no"),
        ("default", ["optimizer=adam"], "sgd or adamw"),
        ("default", ["precision=float16"], "float32 or bfloat16 or auto"),
        ("default", ["select_epoch=first"], "last or best"),
        ("default", ["channels=2"], "1 or 3"),
        ("default", ["epochs=0"], "from 1 to 99999"),
        ("default", ["batch_size=-3"], "at least 2"),
        ("default", ["dropout=1.5"], "from 0 to 0.99"),
        ("default", ["ema_decay=-0.1"], "from 0 to 0.99999"),
        ("default", ["ema_decay=nan"], "ema_decay is nan"),
        ("default", ["label_weight=0", "vote_weight=0"], "label_weight and vote_weight"),
        ("default", ["teacher_weight=0.5"], "teachers and teacher_weight"),
        ("default", ["teachers=runs/a"], "teachers and teacher_weight"),
        ("default", ["input_size=64"], "from 8 to 48"),
        ("default", ["initial_size=48"], "larger than input_size"),
        ("default", ["initial_size=26"], "multiple of 4"),
        ("default", ["initial_size=4"], "multiple of 4"),
        ("default", ["lr=inf"], "lr is inf"),
        ("default", ["lr=nan"], "lr is nan"),
        ("default", ["seed=9999999999"], "from 0 to 2147483647"),
        ("default", ["batch_size=99999999999"], "from 2 to 10000000000"),
        ("default", ["mixup=0.7", "cutmix=0.7"], "mixup and cutmix"),
    ],
)
def test_an_invalid_recipe_or_change_is_an_error_of_one_line(recipe, changes, expected_text):
    with pytest.raises(UserError) as error:
        parse(recipe, changes)
    assert expected_text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_unchanged_by_a_json_round_trip(name):
    config = replace(RECIPES[name], teachers=("a", "b"), teacher_weight=0.25)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@given(
    st.builds(
        Config,
        lr=st.floats(1e-9, 10),
        weight_decay=st.floats(0, 1),
        ema_decay=st.floats(0, 0.99999),
        seed=st.integers(0, 2**31 - 1),
        teachers=st.lists(st.text(), min_size=1).map(tuple),
        teacher_weight=st.floats(0.01, 1),
        flip=st.booleans(),
    )
)
def test_any_valid_config_is_unchanged_by_a_json_round_trip(config):
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_fields_that_are_absent_in_json_get_their_defaults():
    assert from_json({"epochs": 3}) == Config(epochs=3)


def test_unknown_fields_and_invalid_values_in_json_are_an_error():
    with pytest.raises(UserError, match="magic, wand"):
        from_json({"wand": 1, "magic": 2})
    with pytest.raises(UserError, match="from 1 to 99999"):
        from_json({"epochs": 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", "no"), ("flip", 1), ("epochs", 2.5), ("epochs", True), ("model", 5), ("lr", "0.1"),
     ("teachers", "runs/a"), ("teachers", [1]), ("teachers", None)],
)  # fmt: skip
def test_json_with_a_wrong_type_is_an_error(field, value):
    with pytest.raises(UserError, match=f"{field} is .* wrong type"):
        from_json({field: value})


def test_json_may_have_a_whole_number_for_a_float():
    assert from_json({"lr": 1}).lr == 1


def test_every_field_has_a_type_that_json_and_parse_support():
    types = {type(getattr(Config(), field.name)) for field in fields(Config)}
    assert types == {str, int, float, bool, tuple}


def test_a_published_config_has_run_folders_without_their_parents():
    config = to_public_json(parse("default", ["teachers=/home/me/a,runs/b", "teacher_weight=0.5"]))
    assert (config["teachers"], config["init_from"]) == (("a", "b"), "")
    assert to_public_json(parse("tiny", ["init_from=/home/me/a"]))["init_from"] == "a"


def test_a_saved_config_can_be_parsed_with_changes(tmp_path):
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(to_json(parse("hybrid", ["seed=3"]))))
    assert parse(str(saved), ["epochs=2"]) == parse("hybrid", ["seed=3", "epochs=2"])
    with pytest.raises(UserError, match=r"none\.json"):
        parse(str(tmp_path / "none.json"))
    for content in ("[]", '""', "[1]", "{"):
        saved.write_text(content)
        with pytest.raises(UserError, match="not a config"):
            parse(str(saved))
