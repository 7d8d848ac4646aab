"""HTML reports, their tables and figures, and the reproduction of the paper."""

import re
import shutil
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import classification_report

from mien.errors import UserError
from mien.lab import (
    claims,
    data,
    evaluate,
    figures,
    page,
    protocols,
    report,
    report_faces,
    reproduce,
    runs,
    scores,
    tables,
    train,
)
from mien.lab.config import RECIPES
from mien.lab.page import FigureBlock, Page, Table
from mien.labels import EMOTIONS
from tests.cli.missing_packages import LAB_PACKAGES, run_mien_without
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=3)


def ignore_progress(*_):
    """Return the progress callback of a training, which does nothing."""
    return lambda *_: None


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(56, 35))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    done = train.fit(TINY, root, tmp_path_factory.mktemp("runs") / "one", device="cpu")
    evaluate.evaluate(done.folder, root, resamples=5)
    return done


def column(table, name):
    """A column of a table: first cell of a row -> its cell in the column."""
    index = list(table.columns).index(name)
    return {row[0]: row[index] for row in table.rows}


def test_per_class_table_matches_scikit_learn(run):
    table = tables.per_class(run, "labels")
    predictions = runs.load_predictions(run)
    expected = classification_report(
        predictions["truth"], predictions["labels"].argmax(1), labels=range(7),
        target_names=EMOTIONS, output_dict=True, zero_division=0,
    )  # fmt: skip
    names = {"macro average": "macro avg", "weighted average": "weighted avg"}
    for metric, title in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        for row, value in column(table, metric).items():
            assert value == pytest.approx(expected[names.get(row, row)][title])
    assert column(table, "support")["macro average"] == 35
    happy = EMOTIONS.index("happy")
    others = predictions["truth"] != happy
    specificity = (predictions["labels"].argmax(1)[others] != happy).mean()
    assert column(table, "specificity")["happy"] == pytest.approx(specificity)


def test_claimed_numbers_are_listed_beside_measured_ones(run, tmp_path, monkeypatch):
    monkeypatch.setitem(claims.CLAIMED_PER_CLASS, "resnet", claims.CLAIMED_PER_CLASS["vgg19"])
    monkeypatch.setitem(claims.CLAIMED_TRAINING, "resnet", claims.CLAIMED_TRAINING["vgg19"])
    monkeypatch.setitem(claims.CLAIMED_EPOCHS, "resnet", 25)
    assert column(tables.per_class(run, "labels"), "recall, claimed")["fear"] == 0.38
    table = tables.training([run])
    assert column(table, "validation loss")["resnet, claimed"] == 0.9112
    assert column(table, "accuracy")["one, measured"] == run.log()[-1]["accuracy"]
    second = runs.open_run(shutil.copytree(run.folder, tmp_path / "two"))
    names = [row[0] for row in tables.training([run, second]).rows]
    assert names == ["resnet, claimed", "one, measured", "two, measured"]


def test_claims_are_consistent_and_as_published():
    # The supports of the paper's Sequential model are those of PublicTest.
    supports = [row["support"] for row in claims.CLAIMED_PER_CLASS["sequential"].values()]
    assert supports == [467, 56, 496, 895, 653, 415, 607]
    assert sum(row["support"] for row in claims.CLAIMED_PER_CLASS["vgg19"].values()) == 3589
    assert [r.claimed_accuracy for r in claims.RELATED_SYSTEMS.values()] == [
        0.7014, 0.60, 0.8492, 0.92, 0.7822, 0.89, 0.63, 0.69, 0.7979, 0.6743
    ]  # fmt: skip
    for table in claims.CLAIMED_PER_CLASS.values():
        for row in table.values():
            harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
            # All three are published with two decimals.
            assert row["f1"] == pytest.approx(harmonic, abs=0.011)


def test_run_page_has_every_figure(run, root, tmp_path):
    content = report.run_page(run)
    content.add(*report_faces.face_figures(run, root))
    names = {block.name for block in page.figures(content)}
    assert names == {
        f"one-{name}"
        for name in (
            "labels-confusion-counts", "labels-confusion-fractions", "labels-reliability",
            "votes-confusion-counts", "votes-confusion-fractions", "votes-reliability",
            "proportions", "accuracy", "loss", "learning-rate", "errors", "grad-cam",
        )
    }  # fmt: skip
    html = page.write(content, tmp_path)
    text = html.read_text()
    assert 'src="data:image/png;base64,' in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    linked = re.findall(r"\]\((figures/[^)]+)\)", (tmp_path / "report.md").read_text())
    assert len(linked) == len(names)
    for link in linked:
        with Image.open(tmp_path / link) as image:
            assert min(image.size) > 200
        assert (tmp_path / link).with_suffix(".svg").read_text().startswith("<?xml")


def test_report_needs_torch_only_for_faces(run, root, tmp_path):
    command = ("report", run.folder, "--out", "page")
    code, out, err = run_mien_without(LAB_PACKAGES, *command, cwd=tmp_path)
    assert (code, out, err) == (0, "page/report.html\n", "")
    code, out, err = run_mien_without(LAB_PACKAGES, *command, "--data", root, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "torch" in err
    assert "pip install '.[lab]'" in err


def test_page_is_balanced_html_and_escapes_its_content():
    content = Page(
        "a <b>", ["# one & two", "text < text", Table("c>", ("a|b", "n"), [("<i>", 0.5)])]
    )
    text = page.html(content, {})
    assert "<b>" not in text
    assert "&lt;i&gt;" in text
    open_tags = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, _):
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balance().feed(text)
    assert open_tags == []
    assert "| a\\|b | n |" in page.markdown(content)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.123"), ("x", "x")],
)
def test_formatting_of_table_cells(cell, text):
    assert page.cell_text(cell) == text


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_figures_are_rendered_reproducibly(run, suffix):
    first, again = (
        page.render(report.learning_rate_and_time(run).figure, suffix) for _ in range(2)
    )
    assert first == again


def test_a_comparison_page_has_the_paired_differences_of_the_runs(run, root, tmp_path):
    other = train.fit(replace(TINY, seed=1), root, tmp_path / "two", device="cpu")
    with pytest.raises(UserError, match="not evaluated yet"):
        report.comparison_page([run, other])
    evaluate.evaluate(other.folder, root, resamples=2)
    content = report.comparison_page([run, other])
    table = tables.comparison([run, other])
    assert [row[0] for row in table.rows] == ["one", "two"]
    assert "comparison" in {block.name for block in page.figures(content)}
    differences = tables.paired([run, other])
    assert differences in content.blocks
    results = [one.result()["heads"] for one in (run, other)]
    rows = [dict(zip(differences.columns, row, strict=True)) for row in differences.rows]
    difference = {row["metric"]: row["difference"] for row in rows}
    for metric, (head, section, name) in {
        "accuracy": ("labels", "fer2013", "accuracy"),
        "log loss": ("labels", "fer2013", "log_loss"),
        "FER+ accuracy": ("votes", "ferplus_majority", "accuracy"),
        "KL divergence, nats": ("votes", "proportions", "kl_nats"),
    }.items():
        first, second = (heads[head][section][name]["value"] for heads in results)
        assert difference[metric] == pytest.approx(second - first, abs=1e-6)
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)


def test_runs_with_different_evaluation_sets_are_not_paired(run, tmp_path):
    elsewhere = tiny.write_packed(tmp_path / "data", tiny.table(56, 28))
    other = train.fit(replace(TINY, seed=2), elsewhere, tmp_path / "two", device="cpu")
    evaluate.evaluate(other.folder, elsewhere, resamples=2)
    assert tables.paired([run, other]) is None


def test_predictions_for_other_data_are_rejected(run, tmp_path):
    elsewhere = tiny.write_packed(tmp_path, tiny.table(56, 28))
    with pytest.raises(UserError, match="for other data"):
        report_faces.face_figures(run, elsewhere)


def test_face_figures_accept_an_evaluation_with_excluded_faces(run, root, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    rows = runs.load_predictions(runs.open_run(folder))["rows"]
    (tmp_path / "excluded.csv").write_text(f"row\n{rows[0]}\n{rows[3]}\n")
    evaluate.evaluate(folder, root, exclude=tmp_path / "excluded.csv", resamples=2)
    assert report_faces.face_figures(runs.open_run(folder), root)


def test_summary_of_a_leaky_protocol_has_a_warning(run):
    leaky = replace(TINY, protocol="leaky-augment")
    leaky_run = SimpleNamespace(config=leaky, about=run.about, log=run.log)
    summary = tables.summary(leaky_run, run.result() | {"protocol": "leaky-augment"})
    assert "leaky on purpose" in summary


def test_runs_with_equal_folder_names_get_distinct_names(run, root, tmp_path):
    second = shutil.copytree(run.folder, tmp_path / "other" / run.folder.name)
    two = [run, runs.open_run(second)]
    assert tables.run_names(two) == [f"{r.folder.parent.name}-{r.folder.name}" for r in two]
    names = [block.name for block in page.figures(report.comparison_page(two))]
    assert len(set(names)) == len(names) == 1 + 2 * 2  # a comparison, and two curves per run
    with pytest.raises(UserError, match="given twice"):
        tables.run_names([run, run])


def test_runs_evaluated_on_different_splits_are_not_compared(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    evaluate.evaluate(other.folder, root, split="train", resamples=2)
    with pytest.raises(UserError, match="split train"):
        report.comparison_page([run, other])


def test_proportions_are_listed_with_their_sampling_floor(run):
    result = run.result()
    table = tables.proportions(result)
    sections = result["heads"]["votes"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    (js_bits,) = [row for row in rows if (row["head"], row["metric"]) == ("FER+ votes", "js_bits")]
    assert js_bits["value"] == sections["proportions"]["js_bits"]["value"]
    assert js_bits["sampling floor"] == sections["sampling_floor"]["js_bits"]["value"]
    sections_listed = {row[0] for row in tables.head_scores(result, "votes").rows}
    assert not sections_listed & {"proportions", "sampling_floor"}


def test_column_of_text_is_aligned_to_the_left():
    table = Table("", ("name", "value", "words"), [("a", 0.5, "as many words as make a sentence")])
    assert page.table_markdown(table).splitlines()[1] == "| --- | ---: | --- |"


# Reproduction of the paper


@pytest.mark.parametrize("name", reproduce.REQUIRED_SYSTEMS)
def test_every_table_and_figure_is_made_from_runs(name, run, root):
    finished = dict.fromkeys(reproduce.REQUIRED_SYSTEMS[name], run)
    blocks = reproduce.table_or_figure(name, root, finished)
    assert blocks
    expected = FigureBlock if name.startswith("fig") else Table
    assert isinstance(blocks[0], expected)


@pytest.mark.parametrize("system", reproduce.PAPER_SETTINGS)
@pytest.mark.parametrize("variant", ["common", "slim", "paper"])
def test_every_system_has_a_config(system, variant):
    config = reproduce.system_config(system, variant, ["seed=3"])
    assert config.model.startswith(system)
    assert config.seed == 3
    assert config.epochs == claims.CLAIMED_EPOCHS[system]
    assert config.vote_weight == 0
    assert config.protocol == ("random10" if system == "vgg19" else "official")


@pytest.mark.parametrize("system", claims.RELATED_SYSTEMS)
def test_every_related_system_has_a_config(system):
    common, slim, paper = (
        reproduce.system_config(system, variant) for variant in ("common", "slim", "paper")
    )
    assert common.model == system
    assert slim.model in {f"{system}-slim", system}
    assert (common.protocol, common.epochs) == (slim.protocol, slim.epochs) == ("official", 100)
    assert paper == RECIPES[f"{system}-paper"]


def test_table_5_measures_the_related_systems_on_request(root, run, tmp_path, monkeypatch):
    trained = []

    def trained_run(config, root, out, on_progress):
        trained.append(out.name)
        return run

    monkeypatch.setattr(reproduce, "trained_run", trained_run)
    in_paper = len(reproduce.PAPER_SETTINGS)
    in_table = in_paper + len(claims.RELATED_SYSTEMS)
    for related, count in ((False, in_paper), (True, in_table)):
        trained.clear()
        content = reproduce.reproduce(["table5"], root, tmp_path, ignore_progress, related=related)
        (table,) = [block for block in content.blocks if isinstance(block, Table)]
        assert len(trained) == count
        assert len(table.rows) == in_table
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        measured = [row for row in rows if row["measured"] is not None]
        assert len(measured) == count
        for row in measured:
            assert (row["network here"], row["epochs"]) == ("resnet-8", TINY.epochs)
            assert row["protocol"] == "as the data is split"


def test_reproduce_trains_missing_systems_and_reuses_finished_ones(root, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", partial(evaluate.evaluate, resamples=2))
    changes = ["epochs=1", "batch_size=14", "input_size=40", "warmup_epochs=0"]
    content = reproduce.reproduce(
        ["table4", "fig7"], root, tmp_path, ignore_progress, variant="slim", changes=changes
    )
    assert [b for b in content.blocks if isinstance(b, str) and b.startswith("#")] == [
        "# Table 4", "# Figure 7",
    ]  # fmt: skip
    monkeypatch.setattr(train, "train_epoch", None)  # an error if called
    again = reproduce.reproduce(
        ["table3"], root, tmp_path, ignore_progress, variant="slim", changes=changes
    )
    assert any(isinstance(block, Table) for block in again.blocks)


def test_reproduce_rejects_another_network_for_a_system(root, tmp_path):
    with pytest.raises(UserError, match="resnet-8 is not a vgg19 network"):
        reproduce.reproduce(["table4"], root, tmp_path, ignore_progress, changes=["model=resnet-8"])


def test_unknown_table_gets_a_suggestion(root, tmp_path):
    with pytest.raises(UserError, match="Did you mean 'table5'"):
        reproduce.reproduce(["tabel5"], root, tmp_path, ignore_progress)
    with pytest.raises(UserError, match="variant 'big'"):
        reproduce.reproduce(["table5"], root, tmp_path, ignore_progress, variant="big")


# Figures


def test_figures_accept_incomplete_logs():
    log = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    assert isinstance(figures.training_curves(log, "loss", "val_loss", "loss"), Figure)
    assert isinstance(figures.learning_rate_and_time(log), Figure)


def test_a_face_grid_of_any_number_of_faces_is_rendered():
    for count in (0, 1, 9):
        figure = figures.face_grid(np.zeros((count, 48, 48), np.uint8), ["a\nb"] * count)
        assert page.render(figure, ".png").startswith(b"\x89PNG")


def test_overlay_is_brightest_where_the_map_is_largest():
    faces, maps = np.zeros((1, 48, 48), np.uint8), np.zeros((1, 6, 6))
    maps[0, 0, 5] = 1
    overlays = figures.overlay_maps(faces, maps)
    assert overlays.shape == (1, 48, 48, 3)
    assert overlays[0, 2, 45].sum() > overlays[0, 40, 5].sum()


def test_a_reliability_figure_accepts_full_confidence():
    assert isinstance(figures.reliability(np.eye(7), np.arange(7)), Figure)


# Comparable runs, averages and warnings


def test_runs_evaluated_on_different_data_are_not_compared(run, tmp_path):
    others = tiny.write_packed(tmp_path / "others", tiny.table(56, 42))
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    evaluate.evaluate(other.folder, others, resamples=2)
    with pytest.raises(UserError, match="evaluated differently"):
        report.comparison_page([run, other])


def test_equal_rows_of_different_data_are_not_paired(run, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    assert tables.paired([run, other]) is not None
    result = runs.read_json(other.metrics_file)
    result["data"]["sha256"]["val"] = "0" * 64
    runs.write_json(other.metrics_file, result)
    assert tables.paired([run, other]) is None


def test_macro_average_is_over_the_classes_that_occur(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    val = data.split(data.load(root), "val")
    without_fear = val.select(val.labels != EMOTIONS.index("fear"))
    predictions = np.eye(7)[without_fear.labels]
    section = scores.score(predictions, without_fear, resamples=2)
    result = other.result()
    result["heads"]["labels"] = section
    runs.write_json(other.metrics_file, result)
    f1 = column(tables.per_class(other, "labels"), "f1")
    assert f1["fear"] == 0
    assert f1["macro average"] == section["fer2013"]["macro_f1"]["value"] == 1


def test_optimistically_biased_results_have_warnings(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    result = evaluate.evaluate(other.folder, root, split="train", resamples=2)
    assert "trained on these faces" in tables.summary(other, result)
    result = run.result()
    assert protocols.warnings(result) == []
    calibrated = result | {"provenance": result["provenance"] | {"cross_validated": {}}}
    assert "calibrated on these faces" in protocols.warnings(calibrated)[0]
    elsewhere = calibrated | {"data": result["data"] | {"sha256": {"val": "of others"}}}
    assert protocols.warnings(elsewhere) == []
