import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.lab.config import RECIPES, Config, checked, from_json, parse, published, to_json


def test_a_name_alone_is_the_named_recipe():
    for name, recipe in RECIPES.items():
        assert parse(name) == recipe
        assert checked(recipe) is recipe


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("epochs=5", "epochs", 5),
        ("rate=0.05", "rate", 0.05),
        ("rate=1e-3", "rate", 1e-3),
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
def test_a_change_has_its_fields_kind(change, field, value):
    found = getattr(parse("default", [change]), field)
    assert found == value
    assert type(found) is type(value)


def test_teachers_come_with_their_weight():
    found = parse("default", ["teachers=runs/a,runs/b", "teacher_weight=0.5"])
    assert found.teachers == ("runs/a", "runs/b")


def test_the_last_of_two_changes_counts_and_the_rest_stays():
    found = parse("tiny", ["epochs=5", "epochs=7"])
    assert found == replace(RECIPES["tiny"], epochs=7)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("defualt", [], "Did you mean 'default'?"),
        ("zzz", [], "There are: default, tiny, "),
        ("default", ["epoch=5"], "Did you mean 'epochs'?"),
        ("default", ["lr=1"], "No recipe field is called 'lr'."),
        ("default", ["epochs"], "write FIELD=VALUE, as in epochs=5."),
        ("default", ["epochs=five"], "epochs is a whole number, not 'five'."),
        ("default", ["epochs=1.5"], "epochs is a whole number, not '1.5'."),
        ("default", ["rate=fast"], "rate is a number, not 'fast'."),
        ("default", ["flip=perhaps"], "flip is yes or no, not 'perhaps'."),
        ("default", ["optimizer=adam"], "it can be sgd or adamw."),
        ("default", ["precision=float16"], "it can be float32 or bfloat16 or auto."),
        ("default", ["keep=first"], "it can be last or best."),
        ("default", ["channels=2"], "it can be 1 or 3."),
        ("default", ["epochs=0"], "epochs is 0; from 1 to 99999."),
        ("default", ["batch=-3"], "batch is -3; at least 2."),
        ("default", ["dropout=1.5"], "dropout is 1.5; from 0 to 0.99."),
        ("default", ["ema=-0.1"], "ema is -0.1; from 0 to 0.99999."),
        ("default", ["ema=nan"], "ema is nan; from 0 to 0.99999."),
        ("default", ["label_weight=0", "vote_weight=0"], "nothing to learn."),
        ("default", ["teacher_weight=0.5"], "set both or none."),
        ("default", ["teachers=runs/a"], "set both or none."),
        ("default", ["side=64"], "side is 64; from 8 to 48."),
        ("default", ["first_side=48"], "a window only grows."),
        ("default", ["first_side=26"], "a multiple of 4 from 8, or 0."),
        ("default", ["first_side=4"], "a multiple of 4 from 8, or 0."),
        ("default", ["rate=inf"], "rate is inf; at least 1e-12."),
        ("default", ["rate=nan"], "rate is nan; at least 1e-12."),
        ("default", ["seed=9999999999"], "seed is 9999999999"),
        ("default", ["mixup=0.7", "cutmix=0.7"], "together at most 1."),
    ],
)
def test_a_mistake_gets_one_sentence_that_helps(name, changes, said):
    with pytest.raises(UserError) as error:
        parse(name, changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    recipe = replace(RECIPES[name], teachers=("a", "b"), teacher_weight=0.25)
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


@given(
    st.builds(
        Config,
        rate=st.floats(1e-9, 10),
        decay=st.floats(0, 1),
        ema=st.floats(0, 0.99999),
        seed=st.integers(0, 2**31 - 1),
        teachers=st.lists(st.text(), min_size=1).map(tuple),
        teacher_weight=st.floats(0.01, 1),
        flip=st.booleans(),
    )
)
def test_any_sensible_recipe_survives_json(recipe):
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe


def test_json_of_an_older_mien_gets_the_defaults_and_of_a_newer_one_a_sentence():
    assert from_json({"epochs": 3}) == Config(epochs=3)
    with pytest.raises(UserError, match=r"fields unknown to this mien: magic, wand\.$"):
        from_json({"wand": 1, "magic": 2})
    with pytest.raises(UserError, match="from 1 to 99999"):
        from_json({"epochs": 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", "no"), ("flip", 1), ("epochs", 2.5), ("epochs", True), ("model", 5), ("rate", "0.1"),
     ("teachers", "runs/a"), ("teachers", [1]), ("teachers", None)],
)  # fmt: skip
def test_json_of_another_kind_is_refused(field, value):
    with pytest.raises(UserError, match=f"{field} is .* of another kind"):
        from_json({field: value})
    assert from_json({"rate": 1}).rate == 1


def test_every_field_is_one_that_json_and_parse_know():
    kinds = {type(getattr(Config(), field.name)) for field in fields(Config)}
    assert kinds == {str, int, float, bool, tuple}


def test_what_is_published_does_not_say_where_other_runs_lay():
    found = published(parse("default", ["teachers=/home/me/a,runs/b", "teacher_weight=0.5"]))
    assert (found["teachers"], found["start"]) == (("a", "b"), "")
    assert published(parse("tiny", ["start=/home/me/a"]))["start"] == "a"


def test_a_runs_recipe_is_trained_by_again(tmp_path):
    saved = tmp_path / "recipe.json"
    saved.write_text(json.dumps(to_json(parse("hybrid", ["seed=3"]))))
    assert parse(str(saved), ["epochs=2"]) == parse("hybrid", ["seed=3", "epochs=2"])
    with pytest.raises(UserError, match="cannot be read"):
        parse(str(tmp_path / "none.json"))
    saved.write_text("[1]")
    with pytest.raises(UserError, match="is no recipe"):
        parse(str(saved))
