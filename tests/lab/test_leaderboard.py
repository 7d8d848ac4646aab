"""The leaderboard: results in, one row per recipe, in the order of what is measured."""

import copy
import json
import subprocess
from dataclasses import replace

import pytest
from click.testing import CliRunner

from mien import cli
from mien.errors import UserError
from mien.lab import claims, evaluate, leaderboard, models, page, runs, train
from mien.lab.config import RECIPES
from tests.browser import CHROMIUM
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=1)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    root = tiny.write_packed(folder / "data", tiny.table(28, 21))
    run = train.fit(TINY, root, folder / "run", device="cpu")
    return evaluate.evaluate(run.folder, root, resamples=5)


def as_if(result, model, accuracy, seed=0):
    """The same result of another model, with another accuracy."""
    other = copy.deepcopy(result)
    other["trained"]["config"] |= {"model": model, "seed": seed}
    for section in other["heads"]["labels"].values():
        if "accuracy" in section:
            section["accuracy"] = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return other


@pytest.fixture
def folder(result, tmp_path):
    board = tmp_path / "board"
    for model, accuracy, seed in (
        ("jaiswal", 0.5, 0), ("jaiswal", 0.7, 1), ("xception-slim", 0.65, 0), ("resnet-8", 0.4, 0),
    ):  # fmt: skip
        runs.write_json(board / f"{model}-{seed}.json", as_if(result, model, accuracy, seed))
    times = {"xception-slim": {"ms": 1.25, "times_default": 0.5, "megabytes": 2.0}}
    runs.write_json(board / leaderboard.TIMES, {"rows": times})
    return board


def cells(made, name):
    place = list(made.columns).index(name)
    return [row[place] for row in made.rows]


def test_a_result_says_what_its_training_took(result):
    assert result["training"]["epochs"] == 1
    assert result["training"]["seconds"] > 0
    assert result["network"]["parameters"] == pytest.approx(89_000, rel=0.5)


def test_seeds_of_one_config_make_one_row_and_the_best_comes_first(folder):
    made = leaderboard.table(leaderboard.read(folder))
    assert cells(made, "model") == ["xception-slim", "jaiswal-full", "resnet-8"]
    assert cells(made, "measured") == [0.65, pytest.approx(0.6), 0.4]
    assert cells(made, "seeds") == [1, 2, 1]
    assert cells(made, "sd") == [None, pytest.approx(0.1414, abs=1e-4), None]
    assert cells(made, "low")[1] == pytest.approx(0.5)


def test_a_family_alone_is_its_first_variant(folder, result):
    whole = as_if(result, "jaiswal", 0.5, seed=3)
    whole["trained"]["config"]["model"] = "jaiswal-full"
    runs.write_json(folder / "whole.json", whole)
    seeds = {row.model: len(row.results) for row in leaderboard.read(folder)}
    assert seeds == {"xception-slim": 1, "jaiswal-full": 3, "resnet-8": 1}


def test_only_the_claimed_column_comes_from_a_paper(folder):
    made = leaderboard.table(leaderboard.read(folder))
    assert cells(made, "claimed") == [0.92, 0.7014, None]
    assert cells(made, "ms a face") == [1.25, None, None]


def test_a_model_file_has_a_row_of_its_own_and_needs_no_config(folder, result):
    theirs = copy.deepcopy(result) | {"what": "theirs.onnx", "trained": {}}
    del theirs["training"], theirs["network"]
    runs.write_json(folder / "theirs.json", theirs)
    runs.write_json(folder / "notes.json", {"heads": {}})
    rows = leaderboard.read(folder)
    assert "theirs.onnx" in [row.model for row in rows]
    text = page.markdown(leaderboard.page(rows))
    assert text.startswith("# 4 networks, judged alike")
    assert "theirs.onnx" in text


def test_a_training_has_one_result(folder, result):
    runs.write_json(folder / "again.json", as_if(result, "jaiswal", 0.7, seed=1))
    with pytest.raises(UserError, match="has a result already"):
        leaderboard.read(folder)


@pytest.mark.parametrize("part", ["window", "taught", "config"])
def test_only_seeds_are_averaged(folder, result, part):
    other = as_if(result, "jaiswal", 0.7, seed=2)
    if part == "window":
        other["window"] += 4
    elif part == "taught":
        other["trained"]["data"]["sha256"]["train"] = "another"
    else:
        other["trained"]["config"]["epochs"] = 99
    runs.write_json(folder / "other.json", other)
    assert sorted(len(row.results) for row in leaderboard.read(folder)) == [1, 1, 1, 2]


def test_folds_judge_by_other_faces(folder, result):
    board = folder / "folds"
    for fold in (0, 1):
        one = as_if(result, "jaiswal", 0.7)
        one["protocol"] = "kfold"
        one["trained"]["config"] |= {"protocol": "kfold", "fold": fold, "folds": 3}
        runs.write_json(board / f"{fold}.json", one)
    with pytest.raises(UserError, match="fold 0 of 3"):
        leaderboard.read(board)


def test_an_ensemble_after_other_folds_is_judged_by_the_official_split(folder, result):
    theirs = copy.deepcopy(result) | {"what": "folds.onnx", "trained": {"members": []}}
    theirs["protocol"] += ", after training by kfold"
    del theirs["training"], theirs["network"]
    runs.write_json(folder / "alone" / "theirs.json", theirs)
    rows = leaderboard.read(folder / "alone")
    said = leaderboard.summary(rows)
    assert "after training by kfold" in said
    assert "Epochs: unknown" in said


@pytest.mark.parametrize(("judged", "told"), [("val", True), ("test", False)])
def test_only_faces_that_chose_an_epoch_are_said_to_have(folder, result, judged, told):
    one = as_if(result, "jaiswal", 0.7) | {"epoch_chosen_on": "val"}
    one["data"]["split"] = judged
    one["data"]["sha256"]["test"] = "x"
    runs.write_json(folder / "chosen" / "one.json", one)
    said = leaderboard.summary(leaderboard.read(folder / "chosen"))
    assert ("chosen by the faces that judge" in said) == told


def test_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        leaderboard.read(tmp_path / "nothing")


def test_whether_claims_say_anything_is_said_of_five_and_more(folder, result):
    assert leaderboard.agreement(leaderboard.read(folder)) == ""
    board = folder / "five"
    claimed = {name: system.claimed for name, system in claims.RIVALS.items()}
    for name, claim in list(claimed.items())[:5]:
        runs.write_json(board / f"{name}.json", as_if(result, name, 1 - claim))
    assert "over 5 systems: -1.00" in leaderboard.agreement(leaderboard.read(board))
    # Two networks of one system are one claim, and the better one answers for it.
    name, claim = next(iter(claimed.items()))
    variant = [one for one in models.available() if one.startswith(f"{name}-")][1]
    runs.write_json(board / "second.json", as_if(result, variant, 0.99 - claim))
    assert "over 5 systems: -1.00" in leaderboard.agreement(leaderboard.read(board))


def test_votes_are_asked_of_the_head_that_learned_them(result):
    row = leaderboard.Row("resnet-8", {}, [result])
    votes = result["heads"]["votes"]["ferplus_majority"]["accuracy"]["value"]
    labels = result["heads"]["labels"]["fer2013"]["macro_f1"]["value"]
    assert row.number("ferplus_majority", "accuracy")["value"] == votes
    assert row.number("fer2013", "macro_f1")["value"] == labels


def test_without_votes_the_labels_answer_for_them(result):
    alone = copy.deepcopy(result)
    del alone["heads"]["votes"]
    row = leaderboard.Row("resnet-8", {}, [alone])
    expected = alone["heads"]["labels"]["proportions"]["kl_nats"]["value"]
    assert row.number("proportions", "kl_nats")["value"] == expected


def test_results_of_different_faces_are_not_compared(folder, result):
    other = as_if(result, "jaiswal", 0.99, 2)
    other["data"]["split"] = "test"
    runs.write_json(folder / "test.json", other)
    with pytest.raises(UserError, match="not comparable"):
        leaderboard.read(folder)


def test_a_folder_without_results_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no results"):
        leaderboard.read(tmp_path)


def test_every_system_with_a_claim_is_a_model_here():
    families = {name.partition("-")[0] for name in models.available()}
    assert set(claims.SYSTEMS) <= families
    assert len(claims.RIVALS) == 10


def test_the_command_shows_the_table_and_writes_the_page(folder, tmp_path):
    done = CliRunner().invoke(cli.app, ["leaderboard", str(folder), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "xception-slim" in done.output
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "mini-Xception" in text
    assert (tmp_path / "out" / "figures" / "accuracy-by-cost.svg").exists()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_click_on_a_heading_sorts_the_page(folder, tmp_path):
    page.write(leaderboard.page(leaderboard.read(folder)), tmp_path, "board")
    html = tmp_path / "board.html"
    click = """<script>
      const seen = [...Array(2)].map(() => {
        document.querySelectorAll("th button")[2].click();
        return [...document.querySelectorAll("tbody")[0].rows].map(r => r.cells[1].textContent);
      });
      document.title = JSON.stringify(seen);
    </script>"""
    html.write_text(html.read_text().replace("</body>", click + "</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", html.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    title = dom.split("<title>")[1].split("</title>")[0].replace("&quot;", '"')
    falling, rising = json.loads(title)
    assert falling == ["xception-slim", "jaiswal-full", "resnet-8"]
    assert rising == ["jaiswal-full", "xception-slim", "resnet-8"]
