"""The leaderboard, with one row per network, sorted by measured accuracy."""

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


def with_accuracy(result, model, accuracy, seed=0):
    """Return a copy of a result with another model, accuracy and seed."""
    other = copy.deepcopy(result)
    other["provenance"]["config"] |= {"model": model, "seed": seed}
    for section in other["heads"]["labels"].values():
        if "accuracy" in section:
            section["accuracy"] = {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return other


@pytest.fixture
def folder(result, tmp_path):
    """A folder of results: jaiswal with two seeds, and two models with one."""
    board = tmp_path / "board"
    for model, accuracy, seed in (
        ("jaiswal", 0.5, 0), ("jaiswal", 0.7, 1), ("xception-slim", 0.65, 0), ("resnet-8", 0.4, 0),
    ):  # fmt: skip
        runs.write_json(
            board / f"{model}-{seed}.json", with_accuracy(result, model, accuracy, seed)
        )
    times = {"xception-slim": {"ms": 1.25, "times_default": 0.5, "megabytes": 2.0}}
    runs.write_json(board / leaderboard.TIMES_FILE, {"rows": times})
    return board


def column_of(table, name):
    column = list(table.columns).index(name)
    return [row[column] for row in table.rows]


def test_a_result_has_the_cost_of_training_and_network(result):
    assert result["training"]["epochs"] == 1
    assert result["training"]["seconds"] > 0
    network = models.build(TINY.model, channels=1, classes=7)
    assert result["network"]["parameters"] == models.count_parameters(network)


def test_seeds_form_one_row_and_the_most_accurate_row_is_first(folder):
    table = leaderboard.table(leaderboard.read_rows(folder))
    assert column_of(table, "model") == ["xception-slim", "jaiswal-full", "resnet-8"]
    assert column_of(table, "measured") == [0.65, pytest.approx(0.6), 0.4]
    assert column_of(table, "seeds") == [1, 2, 1]
    assert column_of(table, "sd") == [None, pytest.approx(0.1414, abs=1e-4), None]
    assert column_of(table, "low")[1] == pytest.approx(0.5)  # 0.1 below the mean


def test_family_name_counts_as_its_first_variant(folder, result):
    full_name = with_accuracy(result, "jaiswal-full", 0.5, seed=3)
    runs.write_json(folder / "full_name.json", full_name)
    seeds = {row.model: len(row.results) for row in leaderboard.read_rows(folder)}
    assert seeds == {"xception-slim": 1, "jaiswal-full": 3, "resnet-8": 1}


def test_claims_and_inference_times_are_joined_to_their_rows(folder):
    table = leaderboard.table(leaderboard.read_rows(folder))
    assert column_of(table, "claimed") == [0.92, 0.7014, None]
    assert column_of(table, "ms per face") == [1.25, None, None]


def test_model_file_has_its_own_row_and_needs_no_config(folder, result):
    model_file = copy.deepcopy(result) | {"name": "other.onnx", "provenance": {}}
    del model_file["training"], model_file["network"]
    runs.write_json(folder / "other.json", model_file)
    runs.write_json(folder / "notes.json", {"heads": {}})
    rows = leaderboard.read_rows(folder)
    assert "other.onnx" in [row.model for row in rows]
    text = page.markdown(leaderboard.build_page(rows))
    assert text.startswith("# Leaderboard: 4 networks")
    assert "other.onnx" in text


@pytest.mark.parametrize("accuracy", ["high", None, {}])
def test_result_without_a_number_as_accuracy_is_rejected(folder, result, accuracy):
    damaged = copy.deepcopy(result)
    damaged["heads"]["labels"]["fer2013"]["accuracy"]["value"] = accuracy
    runs.write_json(folder / "damaged.json", damaged)
    with pytest.raises(UserError, match="is damaged or has no label scores"):
        leaderboard.read_rows(folder)


def test_damaged_file_of_inference_times_is_rejected(folder):
    runs.write_json(folder / leaderboard.TIMES_FILE, {"times": {}})
    with pytest.raises(UserError, match=r"times\.json is damaged"):
        leaderboard.read_rows(folder)


def test_second_result_of_a_training_is_rejected(folder, result):
    runs.write_json(folder / "again.json", with_accuracy(result, "jaiswal", 0.7, seed=1))
    with pytest.raises(UserError, match="second result"):
        leaderboard.read_rows(folder)


@pytest.mark.parametrize("part", ["input_size", "data", "config"])
def test_results_that_differ_in_more_than_the_seed_are_separate_rows(folder, result, part):
    other = with_accuracy(result, "jaiswal", 0.7, seed=2)
    if part == "input_size":
        other["input_size"] += 4
    elif part == "data":
        other["provenance"]["data"]["sha256"]["train"] = "another"
    else:
        other["provenance"]["config"]["epochs"] = 99
    runs.write_json(folder / "other.json", other)
    assert sorted(len(row.results) for row in leaderboard.read_rows(folder)) == [1, 1, 1, 2]


def test_folds_have_different_evaluation_sets(folder, result):
    board = folder / "folds"
    for fold in (0, 1):
        of_fold = with_accuracy(result, "jaiswal", 0.7)
        of_fold["protocol"] = "kfold"
        of_fold["provenance"]["config"] |= {"protocol": "kfold", "fold": fold, "folds": 3}
        runs.write_json(board / f"{fold}.json", of_fold)
    with pytest.raises(UserError, match="fold 0 of 3"):
        leaderboard.read_rows(board)


def test_summary_names_the_training_protocol_of_an_ensemble(folder, result):
    ensemble = copy.deepcopy(result) | {"name": "folds.onnx", "provenance": {"members": []}}
    ensemble["protocol"] += ", trained with kfold"
    del ensemble["training"], ensemble["network"]
    runs.write_json(folder / "alone" / "ensemble.json", ensemble)
    rows = leaderboard.read_rows(folder / "alone")
    summary = leaderboard.summary(rows)
    assert "trained with kfold" in summary
    assert "Epochs: unknown" in summary


@pytest.mark.parametrize(("split", "biased"), [("val", True), ("test", False)])
def test_selecting_the_epoch_on_the_evaluation_set_has_a_warning(folder, result, split, biased):
    selected = with_accuracy(result, "jaiswal", 0.7) | {"epoch_selected_on": "val"}
    selected["data"]["split"] = split
    selected["data"]["sha256"]["test"] = "x"
    runs.write_json(folder / "selected" / "result.json", selected)
    summary = leaderboard.summary(leaderboard.read_rows(folder / "selected"))
    assert ("epoch was selected on these faces" in summary) == biased


def test_missing_folder_is_rejected(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        leaderboard.read_rows(tmp_path / "nothing")


def test_rank_correlation_needs_five_systems_and_uses_the_best_network_of_each(folder, result):
    assert leaderboard.rank_correlation(leaderboard.read_rows(folder)) == ""
    board = folder / "five"
    claimed = {name: system.claimed_accuracy for name, system in claims.RELATED_SYSTEMS.items()}
    for name, claim in list(claimed.items())[:5]:
        runs.write_json(board / f"{name}.json", with_accuracy(result, name, 1 - claim))
    assert "over 5 systems: -1.00" in leaderboard.rank_correlation(leaderboard.read_rows(board))
    # The claim of a system is compared with its most accurate network, not with this poor one.
    name = next(iter(claimed))
    variant = [model for model in models.available() if model.startswith(f"{name}-")][1]
    runs.write_json(board / "second.json", with_accuracy(result, variant, 0.01))
    assert "over 5 systems: -1.00" in leaderboard.rank_correlation(leaderboard.read_rows(board))


def test_vote_metrics_are_read_from_the_vote_head(result):
    row = leaderboard.Row("resnet-8", {}, [result])
    votes = result["heads"]["votes"]["ferplus_majority"]["accuracy"]["value"]
    labels = result["heads"]["labels"]["fer2013"]["macro_f1"]["value"]
    assert row.metric("ferplus_majority", "accuracy")["value"] == votes
    assert row.metric("fer2013", "macro_f1")["value"] == labels


def test_vote_metrics_fall_back_to_the_label_head(result):
    labels_only = copy.deepcopy(result)
    del labels_only["heads"]["votes"]
    row = leaderboard.Row("resnet-8", {}, [labels_only])
    expected = labels_only["heads"]["labels"]["proportions"]["kl_nats"]["value"]
    assert row.metric("proportions", "kl_nats")["value"] == expected


def test_results_with_different_evaluation_sets_are_rejected(folder, result):
    other = with_accuracy(result, "jaiswal", 0.99, 2)
    other["data"]["split"] = "test"
    runs.write_json(folder / "test.json", other)
    with pytest.raises(UserError, match="split test"):
        leaderboard.read_rows(folder)


def test_folder_without_results_is_rejected(tmp_path):
    with pytest.raises(UserError, match="has no results"):
        leaderboard.read_rows(tmp_path)


def test_every_claimed_system_is_a_model():
    families = {name.partition("-")[0] for name in models.available()}
    assert set(claims.SYSTEMS) <= families
    assert len(claims.RELATED_SYSTEMS) == 10


def test_leaderboard_command_prints_the_table_and_writes_the_page(folder, tmp_path):
    outcome = CliRunner().invoke(
        cli.app, ["leaderboard", str(folder), "--out", str(tmp_path / "out")]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "xception-slim" in outcome.output
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "mini-Xception" in text
    assert (tmp_path / "out" / "figures" / "accuracy-by-cost.svg").exists()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_clicking_a_column_header_sorts_the_table(folder, tmp_path):
    page.write(leaderboard.build_page(leaderboard.read_rows(folder)), tmp_path, "board")
    html = tmp_path / "board.html"
    # Clicks twice on the third column, which has the claims, and reads the models, in the second.
    click = """<script>
      const orders = [...Array(2)].map(() => {
        document.querySelectorAll("th button")[2].click();
        return [...document.querySelectorAll("tbody")[0].rows].map(r => r.cells[1].textContent);
      });
      document.title = JSON.stringify(orders);
    </script>"""
    html.write_text(html.read_text().replace("</body>", click + "</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", html.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    title = dom.split("<title>")[1].split("</title>")[0].replace("&quot;", '"')
    descending, ascending = json.loads(title)  # resnet-8 has no claim and stays last
    assert descending == ["xception-slim", "jaiswal-full", "resnet-8"]
    assert ascending == ["jaiswal-full", "xception-slim", "resnet-8"]
