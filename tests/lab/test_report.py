"""Pages: numbers against scikit-learn, files that open, nothing missing."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

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
from mien.lab.page import Page, Picture, Table
from mien.labels import EMOTIONS
from tests.cli import without
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=3)


def quiet(*_):
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
    place = list(table.columns).index(name)
    return {row[0]: row[place] for row in table.rows}


def test_the_class_table_agrees_with_scikit_learn(run):
    table = tables.by_class(run, "labels")
    said = runs.load_predictions(run)
    theirs = classification_report(
        said["truth"], said["labels"].argmax(1), labels=range(7), target_names=EMOTIONS,
        output_dict=True, zero_division=0,
    )  # fmt: skip
    names = {"macro average": "macro avg", "weighted average": "weighted avg"}
    for ours, title in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        for row, value in column(table, ours).items():
            assert value == pytest.approx(theirs[names.get(row, row)][title])
    assert column(table, "support")["macro average"] == 35
    truth, guess = said["truth"], said["labels"].argmax(1)
    happy = ((truth != 3) & (guess != 3)).sum() / (truth != 3).sum()
    assert column(table, "specificity")["happy"] == pytest.approx(happy)


def test_claims_stand_beside_what_is_measured(run, tmp_path, monkeypatch):
    monkeypatch.setitem(claims.PER_CLASS, "resnet", claims.PER_CLASS["vgg19"])
    monkeypatch.setitem(claims.TRAINING, "resnet", claims.TRAINING["vgg19"])
    monkeypatch.setitem(claims.EPOCHS, "resnet", 25)
    assert column(tables.by_class(run, "labels"), "recall, as printed")["fear"] == 0.38
    table = tables.training([run])
    assert column(table, "validation loss")["resnet, as printed"] == 0.9112
    assert column(table, "accuracy")["one, here"] == run.log()[-1]["accuracy"]


def test_what_the_paper_prints_is_copied_right():
    supports = [row["support"] for row in claims.PER_CLASS["sequential"].values()]
    assert supports == [467, 56, 496, 895, 653, 415, 607]
    assert sum(row["support"] for row in claims.PER_CLASS["vgg19"].values()) == 3589
    assert [r.claimed for r in claims.RIVALS.values()] == [
        0.7014, 0.60, 0.8492, 0.92, 0.7822, 0.89, 0.63, 0.69, 0.7979, 0.6743
    ]  # fmt: skip
    for table in claims.PER_CLASS.values():
        for row in table.values():
            harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
            assert row["f1"] == pytest.approx(harmonic, abs=0.011)


def test_the_page_of_a_run_has_every_table_and_figure(run, root, tmp_path):
    made = report.of_run(run)
    made.add(*report_faces.faces(run, root))
    names = {picture.name for picture in page.pictures(made)}
    assert names == {
        f"one-{what}"
        for what in (
            "labels-confusion-counts", "labels-confusion-shares", "labels-reliability",
            "votes-confusion-counts", "votes-confusion-shares", "votes-reliability",
            "proportions", "accuracy", "loss", "pace", "mistakes", "grad-cam",
        )
    }  # fmt: skip
    html = page.write(made, tmp_path)
    text = html.read_text()
    assert 'src="data:image/png;base64,' in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    linked = re.findall(r"\]\((figures/[^)]+)\)", (tmp_path / "report.md").read_text())
    assert len(linked) == len(names)
    for link in linked:
        with Image.open(tmp_path / link) as picture:
            assert min(picture.size) > 200
        assert (tmp_path / link).with_suffix(".svg").read_text().startswith("<?xml")


def test_a_report_needs_torch_for_faces_alone(run, root, tmp_path):
    done = without.mien("report", run.folder, "--out", "made", cwd=tmp_path)
    assert done == (0, "made/report.html\n", "")
    code, out, err = without.mien("report", run.folder, "--data", root, "--out", "x", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == "mien: This needs torch: in mien's folder, pip install '.[lab]'.\n"


def test_a_page_is_balanced_html_and_escapes_what_it_shows():
    made = Page("a <b>", ["# one & two", "text < text", Table("c>", ("a|b", "n"), [("<i>", 0.5)])])
    text = page.html(made, {})
    assert "<b>" not in text
    assert "&lt;i&gt;" in text
    depth = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, _):
            if tag not in ("meta", "img", "br"):
                depth.append(tag)

        def handle_endtag(self, tag):
            assert depth.pop() == tag

    Balance().feed(text)
    assert depth == []
    assert "| a\\|b | n |" in page.markdown(made)


@pytest.mark.parametrize(
    ("cell", "said"),
    [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.123"), ("x", "x")],
)
def test_cells_are_shown_as_people_read_them(cell, said):
    assert page.shown(cell) == said


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_figure_is_the_same_bytes(run, suffix):
    first, again = (page.drawn(report.pace(run).figure, suffix) for _ in range(2))
    assert first == again


def test_several_runs_are_compared(run, root, tmp_path):
    other = train.fit(replace(TINY, seed=1), root, tmp_path / "two", device="cpu")
    with pytest.raises(UserError, match="is not measured yet: mien evaluate"):
        report.of_runs([run, other])
    evaluate.evaluate(other.folder, root, resamples=2)
    made = report.of_runs([run, other])
    table = tables.comparison([run, other])
    assert [row[0] for row in table.rows] == ["one", "two"]
    assert "comparison" in {picture.name for picture in page.pictures(made)}
    differences = tables.paired([run, other])
    assert differences in made.blocks
    results = [tables.measured(one)["heads"] for one in (run, other)]
    gain = {row[1]: row[2] for row in differences.rows}
    for number, (head, section, name) in {
        "accuracy": ("labels", "fer2013", "accuracy"),
        "log loss": ("labels", "fer2013", "log_loss"),
        "FER+ accuracy": ("votes", "ferplus_majority", "accuracy"),
        "divergence, nats": ("votes", "proportions", "kl_nats"),
    }.items():
        first, second = (heads[head][section][name]["value"] for heads in results)
        assert gain[number] == pytest.approx(second - first, abs=1e-6)
    assert all(low <= value <= high for *_, value, low, high in differences.rows)


def test_runs_judged_by_other_faces_are_not_paired(run, tmp_path):
    elsewhere = tiny.write_packed(tmp_path / "data", tiny.table(56, 28))
    other = train.fit(replace(TINY, seed=2), elsewhere, tmp_path / "two", device="cpu")
    evaluate.evaluate(other.folder, elsewhere, resamples=2)
    assert tables.paired([run, other]) is None


def test_predictions_of_other_data_are_refused(run, tmp_path):
    elsewhere = tiny.write_packed(tmp_path, tiny.table(56, 28))
    with pytest.raises(UserError, match="are of other data"):
        report_faces.faces(run, elsewhere)


def test_faces_may_have_been_left_out_of_what_is_shown(run, root, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / "run")
    rows = runs.load_predictions(runs.open_run(folder))["rows"]
    (tmp_path / "clean.csv").write_text(f"row\n{rows[0]}\n{rows[3]}\n")
    evaluate.evaluate(folder, root, leave_out=tmp_path / "clean.csv", resamples=2)
    assert report_faces.faces(runs.open_run(folder), root)


def test_a_leaky_protocol_is_called_broken(run):
    broken = replace(TINY, protocol="leaky-augment")
    fake = type("Fake", (), {"config": broken, "about": run.about, "log": run.log})()
    said = tables.summary(fake, tables.measured(run) | {"protocol": "leaky-augment"})
    assert "broken on purpose" in said


def test_runs_of_one_folder_name_keep_their_own_curves(run, root, tmp_path):
    twin = shutil.copytree(run.folder, tmp_path / "other" / run.folder.name)
    two = [run, runs.open_run(twin)]
    assert tables.names(two) == [f"{r.folder.parent.name}-{r.folder.name}" for r in two]
    names = [picture.name for picture in page.pictures(report.of_runs(two))]
    assert len(set(names)) == len(names) == 5
    with pytest.raises(UserError, match="given twice"):
        tables.names([run, run])


def test_runs_that_were_not_measured_alike_are_not_compared(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    evaluate.evaluate(other.folder, root, split="train", resamples=2)
    with pytest.raises(UserError, match="not measured alike: split train of other faces"):
        report.of_runs([run, other])


def test_proportions_stand_beside_perfect_ones(run):
    result = tables.measured(run)
    table = tables.proportions(result)
    sections = result["heads"]["votes"]
    shown = {(row[0], row[2]): row for row in table.rows}["FER+ votes", "js_bits"]
    assert shown[3] == sections["proportions"]["js_bits"]["value"]
    assert shown[-1] == sections["proportions_by_chance"]["js_bits"]["value"]
    judged = {row[0] for row in tables.numbers(result, "votes").rows}
    assert not any(name.startswith("proportions") for name in judged)


def test_a_column_of_sentences_is_set_to_the_left():
    table = Table("", ("name", "value", "words"), [("a", 0.5, "as many words as make a sentence")])
    assert page.table_markdown(table).splitlines()[1] == "| --- | ---: | --- |"


# The paper again


@pytest.mark.parametrize("name", reproduce.NEEDS)
def test_every_exhibit_is_made_from_runs(name, run, root):
    done = dict.fromkeys(reproduce.NEEDS[name], run)
    blocks = reproduce.exhibit(name, root, done)
    assert blocks
    wanted = Picture if name.startswith("fig") else Table
    assert isinstance(blocks[0], wanted)


@pytest.mark.parametrize("system", reproduce.SYSTEMS)
@pytest.mark.parametrize("variant", ["common", "slim", "paper"])
def test_every_system_has_its_settings(system, variant):
    found = reproduce.settings(system, variant, ["seed=3"])
    assert found.model.startswith(system)
    assert found.seed == 3
    assert found.epochs == claims.EPOCHS[system]
    assert found.vote_weight == 0
    assert found.protocol == ("random10" if system == "vgg19" else "official")


@pytest.mark.parametrize("system", claims.RIVALS)
def test_every_rival_has_its_settings(system):
    common, slim, paper = (
        reproduce.settings(system, variant) for variant in ("common", "slim", "paper")
    )
    assert common.model == system
    assert slim.model in {f"{system}-slim", system}
    assert (common.protocol, common.epochs) == (slim.protocol, slim.epochs) == ("official", 100)
    assert paper == RECIPES[f"{system}-paper"]


def test_table_five_measures_the_rivals_when_it_is_asked_to(root, run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        reproduce, "run", lambda wanted, root, out, watch: asked.append(out.name) or run
    )
    ten = len(claims.RIVALS)
    for rivals, trained in ((False, 3), (True, 3 + ten)):
        asked.clear()
        made = reproduce.reproduce(["table5"], root, tmp_path, quiet, rivals=rivals)
        (table,) = [block for block in made.blocks if isinstance(block, Table)]
        assert len(asked) == trained
        assert len(table.rows) == 3 + ten
        measured = [row for row in table.rows if row[2] is not None]
        assert len(measured) == trained
        assert {row[5:] for row in measured} == {("resnet-8", TINY.epochs, "as the data is split")}


def test_reproducing_trains_what_is_missing_and_uses_it_again(root, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", lambda *a, f=evaluate.evaluate: f(*a, resamples=2))
    slim = "slim"
    changes = ["epochs=1", "batch_size=14", "input_size=40", "warmup_epochs=0"]
    made = reproduce.reproduce(
        ["table4", "fig7"], root, tmp_path, quiet, variant=slim, changes=changes
    )
    assert [b for b in made.blocks if isinstance(b, str) and b.startswith("#")] == [
        "# Table 4", "# Figure 7",
    ]  # fmt: skip
    monkeypatch.setattr(train, "train_epoch", None)
    again = reproduce.reproduce(["table3"], root, tmp_path, quiet, variant=slim, changes=changes)
    assert any(isinstance(block, Table) for block in again.blocks)


def test_another_network_does_not_stand_under_the_papers_names(root, tmp_path):
    with pytest.raises(UserError, match="resnet-8 is no vgg19"):
        reproduce.reproduce(["table4"], root, tmp_path, quiet, changes=["model=resnet-8"])


def test_an_exhibit_nobody_knows_gets_one_sentence(root, tmp_path):
    with pytest.raises(UserError, match="Did you mean 'table5'"):
        reproduce.reproduce(["tabel5"], root, tmp_path, quiet)
    with pytest.raises(UserError, match="variant 'big'"):
        reproduce.reproduce(["table5"], root, tmp_path, quiet, variant="big")


# Figures


def test_figures_take_whatever_a_log_lacks():
    log = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
    assert isinstance(figures.curves(log, "loss", "val_loss", "loss"), Figure)
    assert isinstance(figures.pace(log), Figure)


def test_one_face_makes_a_sheet_and_none_does_not_fail():
    for count in (0, 1, 9):
        made = figures.sheet(np.zeros((count, 48, 48), np.uint8), ["a\nb"] * count)
        assert page.drawn(made, ".png").startswith(b"\x89PNG")


def test_a_map_is_brightest_where_it_is_largest():
    faces, maps = np.zeros((1, 48, 48), np.uint8), np.zeros((1, 6, 6))
    maps[0, 0, 5] = 1
    seen = figures.overlaid(faces, maps)
    assert seen.shape == (1, 48, 48, 3)
    assert seen[0, 2, 45].sum() > seen[0, 40, 5].sum()


def test_reliability_draws_even_when_every_answer_is_sure():
    assert isinstance(figures.reliability(np.eye(7), np.arange(7)), Figure)


def test_runs_judged_by_other_faces_are_not_compared(run, tmp_path):
    others = tiny.write_packed(tmp_path / "others", tiny.table(56, 42))
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    evaluate.evaluate(other.folder, others, resamples=2)
    with pytest.raises(UserError, match="not measured alike"):
        report.of_runs([run, other])


def test_another_division_of_the_same_rows_is_not_paired(run, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    assert tables.paired([run, other]) is not None
    result = runs.read_json(other.metrics_file)
    result["data"]["sha256"]["val"] = "0" * 64
    runs.write_json(other.metrics_file, result)
    assert tables.paired([run, other]) is None


def test_the_macro_average_is_of_the_classes_that_occur(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    val = data.split(data.load(root), "val")
    said = np.eye(7)[np.where(val.labels == 2, 3, val.labels)]  # nobody says fear, or shows it
    alone = val.take(val.labels != 2)
    section = scores.measure(said[val.labels != 2], alone, resamples=2)
    result = tables.measured(other)
    result["heads"]["labels"] = section
    runs.write_json(other.metrics_file, result)
    rows = {row[0]: row for row in tables.by_class(other, "labels").rows}
    assert rows["fear"][3] == 0
    assert rows["macro average"][3] == section["fer2013"]["macro_f1"]["value"] == 1


def test_what_flatters_stands_beside_it(run, root, tmp_path):
    other = runs.open_run(shutil.copytree(run.folder, tmp_path / "other"))
    result = evaluate.evaluate(other.folder, root, split="train", resamples=2)
    assert "These faces taught it" in tables.summary(other, result)
    judged = tables.measured(run)
    assert protocols.cautions(judged) == []
    calibrated = judged | {"trained": judged["trained"] | {"crossvalidated": {}}}
    assert protocols.cautions(calibrated)[0].startswith("It was calibrated on these faces")
    elsewhere = calibrated | {"data": judged["data"] | {"sha256": {"val": "of others"}}}
    assert protocols.cautions(elsewhere) == []
