"""The paths of the service: pictures in every form, models, state, OpenAPI."""

import base64
import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import mien
from mien.errors import UserError
from mien.io.image import first_frame as as_frame
from mien.server.micro_batching import MicroBatchingClassifier
from tests.server import serving

PICTURE = serving.picture()


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model) as client:
        yield client


def expected(model, body, source="", **options):
    analyzer = mien.Analyzer(model, "whole", **options)
    (found,) = analyzer.analyze_frames([as_frame(body, "x")])
    return {**found.to_dict(), "source": source}


def encoded(body=PICTURE):
    return base64.b64encode(body).decode()


def test_raw_bytes_give_the_record_that_the_analyzer_gives(client, tiny_model):
    found = client.post("/analyze", content=PICTURE, headers={"content-type": "image/png"})
    assert found.status_code == 200
    assert found.json() == expected(tiny_model, PICTURE)
    assert sum(found.json()["faces"][0]["emotions"].values()) == pytest.approx(1, abs=1e-6)
    assert client.post("/analyze", content=PICTURE).json() == found.json()


def test_a_form_with_one_file_gives_one_record_and_with_several_a_list(client, tiny_model):
    one = client.post("/analyze", files={"image": ("C:\\holiday\\beach.png", PICTURE)})
    assert one.json() == expected(tiny_model, PICTURE, "beach.png")
    other = serving.picture(seed=1)
    files = [("a", ("../../a.png", PICTURE)), ("b", ("b.png", other))]
    assert client.post("/analyze", files=files).json() == [
        expected(tiny_model, PICTURE, "a.png"), expected(tiny_model, other, "b.png"),
    ]  # fmt: skip


def test_json_gives_one_record_or_a_list_as_it_was_asked(client, tiny_model):
    one = expected(tiny_model, PICTURE)
    assert client.post("/analyze", json={"image": encoded()}).json() == one
    assert client.post("/analyze", json={"images": [encoded()]}).json() == [one]
    data = "data:image/png;base64," + encoded()
    assert client.post("/analyze", json={"images": [data, encoded()]}).json() == [one, one]


def test_model_detector_and_contempt_can_be_chosen(client, tiny_model):
    found = client.post("/analyze?contempt=true", content=PICTURE).json()
    assert found == expected(tiny_model, PICTURE, contempt=True)
    assert "contempt" in found["faces"][0]["emotions"]
    found = client.post("/analyze?model=default-int8&detector=whole", content=PICTURE).json()
    assert (found["model"], found["detector"]) == ("default-int8", "whole")


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"content": b""}, 422, "is empty"),
        ({"content": b"no picture"}, 422, "not a picture"),
        ({"content": PICTURE[:200]}, 422, "damaged"),
        ({"content": "x=1", "headers": {"content-type": "application/x-www-form-urlencoded"}},
         415, "x-www-form"),
        ({"content": "x", "headers": {"content-type": "text/html"}}, 415, "text/html"),
        ({"content": "{", "headers": {"content-type": "application/json"}}, 422, "not JSON"),
        ({"content": "[" * 9000, "headers": {"content-type": "application/json"}}, 422, "not JSON"),
        ({"content": "[],", "headers": {"content-type": "application/json"}}, 422, "not JSON"),
        ({"json": []}, 422, "must be"),
        ({"json": {"image": 1}}, 422, "a text"),
        ({"json": {"images": "x"}}, 422, "a list"),
        ({"json": {"images": []}}, 422, "1 to 16"),
        ({"json": {"images": ["eA=="] * 17}}, 422, "1 to 16"),
        ({"json": {"image": "*"}}, 422, "not base64"),
        ({"json": {"image": "eA==", "images": []}}, 422, "must be"),
        ({"json": {"images": list(range(20_000))}}, 422, "more than pictures"),
        ({"json": {"url": "http://example.com/a.png"}}, 403, "fetches nothing"),
        ({"data": {"image": "x"}, "files": {}}, 415, "urlencoded"),
        ({"files": {"image": ("a.svg", b"<svg/>", "image/svg+xml")}}, 422, "a.svg is not a pict"),
        ({"files": [("i", (f"{n}.png", PICTURE)) for n in range(17)]}, 422, "Too many files"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "form"),
        ({"content": b"--a\r\n\r\nx\r\n--a--\r\n",
          "headers": {"content-type": "multipart/form-data; boundary=a"}}, 422, "form"),
        ({"content": PICTURE, "params": {"model": "nobody"}}, 422, "No model is called 'nobody'"),
        ({"content": PICTURE, "params": {"model": "/etc/x.onnx"}}, 422, "No model"),
        ({"content": PICTURE, "params": {"modle": "best"}}, 422, "Nothing here is called modle"),
        ({"content": PICTURE, "params": {"detector": "yunnet"}}, 422, "Did you mean 'yunet'"),
        ({"content": PICTURE, "params": {"contempt": "perhaps"}}, 422, "contempt: "),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(client, asked, status, says):
    found = client.post("/analyze", **asked)
    assert found.status_code == status, found.text
    assert list(found.json()) == ["error"]
    assert says in found.json()["error"]
    assert "\n" not in found.json()["error"]


def test_other_paths_and_methods_are_refused_in_the_same_form(client):
    assert client.get("/nothing").json() == {"error": "Not Found."}
    refused = client.get("/analyze")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert client.get("/docs").status_code == 404


def test_models_health_and_metrics(client):
    client.post("/analyze", content=PICTURE)
    found = client.get("/models").json()
    assert found["default"] == "tiny"
    assert {"tiny", "default", "default-int8"} <= {one["name"] for one in found["models"]}
    assert {"yunet", "whole"} <= set(found["detectors"])
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_keep_their_names_and_are_prometheus_text(client):
    client.post("/analyze", content=PICTURE)
    answered = client.get("/metrics")
    assert answered.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answered.text
    known = {one.name: one for one in text_string_to_metric_families(text)}
    assert {"_created" in name for name in known} == {False}
    assert {name for name in known if name.startswith("mien_")} == {
        "mien_requests", "mien_request_seconds", "mien_pictures", "mien_faces", "mien_batch_faces",
        "mien_videos", "mien_live_seconds", "mien_live_dropped", "mien_pictures_waiting",
        "mien_body_bytes", "mien_live_connections",
    }  # fmt: skip
    for name in ("mien_requests_total", "mien_faces_total", "mien_live_dropped_total"):
        assert f"# TYPE {name} counter" in text
    answers = [s.labels for s in known["mien_requests"].samples]
    assert {"route": "/analyze", "status": "200"} in answers
    assert re.search(r'^mien_request_seconds_bucket{le="\+Inf",route="/analyze"} \d', text, re.M)
    assert "# TYPE mien_videos_total counter" in text
    assert "# TYPE mien_videos gauge" in text
    assert client.get("/metrics/../x\u00e9").status_code == 404
    assert text.count("other") <= client.get("/metrics").text.count("other") <= 30


def test_before_a_face_came_none_is_counted(tiny_model):
    with serving.in_process(tiny_model) as fresh:
        fresh.get("/models")
        assert "\nmien_batch_faces_count 0.0\n" in fresh.get("/metrics").text


def test_openapi_says_what_is_answered(client):
    found = client.get("/openapi.json").json()
    assert set(found["paths"]) == {
        "/analyze", "/videos", "/videos/{identity}", "/videos/{identity}/events",
        "/videos/{identity}/results/{name}", "/models", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert "apparent expression" in found["info"]["description"]
    example = found["components"]["schemas"]["Record"]["example"]
    answered = client.post("/analyze", files={"image": ("photo.jpg", PICTURE)}).json()
    assert set(example) == set(answered)
    assert set(example["faces"][0]) == set(answered["faces"][0])
    asked = found["paths"]["/analyze"]["post"]["requestBody"]["content"]["application/json"]
    for one in asked["examples"].values():
        assert client.post("/analyze", json=one["value"]).status_code == 200


def test_faces_of_several_requests_share_a_batch(tiny_model):
    batches = []
    alone = MicroBatchingClassifier(tiny_model, 1, patience=5.0, told=batches.append)
    crops = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)
    want, batches[:] = alone(crops), []
    together = threading.Barrier(6)

    def ask(k):
        with alone.coming():
            together.wait()
            return alone(crops[k : k + 1])

    with ThreadPoolExecutor(6) as pool:
        found = np.concatenate(list(pool.map(ask, range(6))))
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert batches == [6]
    alone(np.repeat(crops, 5, 0))
    assert batches == [6, 30]


def test_an_error_reaches_everybody_in_the_batch(tiny_model):
    together = MicroBatchingClassifier(tiny_model, 1, patience=1.0)
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Got invalid dimensions"):
        together(np.zeros((1, 1, 9, 9), np.uint8))
    assert together(np.zeros((1, 1, 8, 8), np.uint8)).shape == (1, 8)


def test_waiting_for_others_is_bounded(tiny_model):
    together = MicroBatchingClassifier(tiny_model, 1, patience=0.01)
    with together.coming(), together.coming():
        assert together(np.zeros((1, 1, 8, 8), np.uint8)).shape == (1, 8)


def test_the_verb_says_what_is_wrong(mien, tmp_path, monkeypatch):
    assert mien("serve", "--host", "256.0.0.1")[0] == 2
    assert "no token" in mien("serve", "--token-file", "/dev/null")[2]
    assert "cannot be read" in mien("serve", "--token-file", tmp_path / "none")[2]
    assert "No detector" in mien("serve", "--port", "0", "--detector", "eagle")[2]
    monkeypatch.delattr("mien.server.server", raising=False)
    monkeypatch.delitem(sys.modules, "mien.server.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "This needs uvicorn: in mien's folder, pip install '.[serve]'." in mien("serve")[2]


def test_an_analyzer_can_share_a_loaded_model_and_detector(tiny_model):
    from mien import detection
    from mien.classification.classifier import Classifier

    classifier, detector = Classifier(tiny_model), detection.load("whole")
    shared = mien.Analyzer(classifier, detector)
    assert (shared.model, shared.detector) == ("tiny", "whole")
    assert shared.analyze(PICTURE) == mien.Analyzer(tiny_model, "whole").analyze(PICTURE)
    with pytest.raises(UserError, match=r"^beach\.jpg is not a picture"):
        as_frame(b"x", "beach.jpg")


def test_the_record_is_json_whatever_the_name(client):
    found = client.post("/analyze", files={"image": ("\U0001f600\n.png", PICTURE)})
    assert json.loads(found.text)["source"]
