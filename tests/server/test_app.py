"""All routes of the server except `/videos` and `/live`."""

import base64
import http.client
import json
import re
import sys
from urllib.parse import quote, urljoin

import pytest
from prometheus_client.parser import text_string_to_metric_families

import mien
from mien.io.image import first_frame
from tests.server import serving

IMAGE = serving.image_file()
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model) as client:
        yield client


def expected_record(model, body, source="", **options):
    analyzer = mien.Analyzer(model, "whole", **options)
    (result,) = analyzer.analyze_frames([first_frame(body, "x")])
    return {**result.to_dict(), "source": source}


def to_base64(body=IMAGE):
    return base64.b64encode(body).decode()


def test_raw_bytes_give_the_same_record_as_the_analyzer(client, tiny_model):
    response = client.post("/analyze", content=IMAGE, headers={"content-type": "image/png"})
    assert response.status_code == 200
    assert response.json() == expected_record(tiny_model, IMAGE)
    assert sum(response.json()["faces"][0]["emotions"].values()) == pytest.approx(1, abs=1e-6)
    assert client.post("/analyze", content=IMAGE).json() == response.json()


def test_a_form_gives_a_record_for_one_file_and_a_list_for_several(client, tiny_model):
    response = client.post("/analyze", files={"image": ("C:\\holiday\\beach.png", IMAGE)})
    assert response.json() == expected_record(tiny_model, IMAGE, "beach.png")
    other = serving.image_file(seed=1)
    files = [("a", ("../../a.png", IMAGE)), ("b", ("b.png", other))]
    assert client.post("/analyze", files=files).json() == [
        expected_record(tiny_model, IMAGE, "a.png"), expected_record(tiny_model, other, "b.png"),
    ]  # fmt: skip


def test_json_gives_a_record_for_image_and_a_list_for_images(client, tiny_model):
    record = expected_record(tiny_model, IMAGE)
    assert client.post("/analyze", json={"image": to_base64()}).json() == record
    assert client.post("/analyze", json={"images": [to_base64()]}).json() == [record]
    data_url = "data:image/png;base64," + to_base64()
    body = {"images": [data_url, to_base64()]}
    assert client.post("/analyze", json=body).json() == [record, record]


def wrap_lines(text):
    return "\r\n".join(text[k : k + 76] for k in range(0, len(text), 76))


BASE64_FORMS = {
    "line breaks": lambda body: base64.encodebytes(body).decode(),
    "CRLF": lambda body: wrap_lines(to_base64(body)),
    "URL-safe": lambda body: base64.urlsafe_b64encode(body).decode(),
    "URL-safe without padding": lambda body: base64.urlsafe_b64encode(body).decode().rstrip("="),
    "without padding": lambda body: to_base64(body).rstrip("="),
    "spaces around": lambda body: f"\n  {to_base64(body)} \t\n",
    "data URL": lambda body: "data:image/png;base64," + to_base64(body),
    "wrapped data URL": lambda body: " DATA:;base64,\n" + wrap_lines(to_base64(body)),
    "percent-encoded data URL": lambda body: "data:;base64," + quote(to_base64(body), safe=""),
}


@pytest.mark.parametrize("encode", BASE64_FORMS.values(), ids=BASE64_FORMS)
@pytest.mark.parametrize("zero_count", [0, 1, 2])
def test_every_form_of_base64_gives_the_same_record(client, tiny_model, encode, zero_count):
    # Bytes after the end of a PNG are ignored. These are encoded as + and /, or as - and _ in the
    # URL-safe alphabet; the zeros at the end vary the length modulo 3, and thus the padding.
    body = IMAGE + b"\xfb\xff\xfe\xfb" * 9 + bytes(zero_count)
    record = expected_record(tiny_model, IMAGE)
    assert client.post("/analyze", json={"image": encode(body)}).json() == record
    response = client.post("/analyze", json={"images": [encode(body), to_base64()]})
    assert response.json() == [record, record]


@pytest.mark.parametrize("text", ["*", "a", "aGk=x", "data:image/png,abc!", "\u00e9", "a\0b="])
def test_invalid_base64_is_an_error(client, text):
    response = client.post("/analyze", json={"image": text})
    assert response.status_code == 422
    assert "base64" in response.json()["error"]


def test_an_unreadable_file_of_a_form_does_not_reject_the_others(client, tiny_model):
    other = serving.image_file(seed=1)
    files = [("i", ("notes.txt", b"text")), ("i", ("a.png", IMAGE)), ("i", ("empty.png", b"")),
             ("i", ("b.png", other)), ("i", ("half.png", IMAGE[:200]))]  # fmt: skip
    response = client.post("/analyze", files=files)
    assert response.status_code == 200
    text, a, empty, b, half = response.json()
    assert a == expected_record(tiny_model, IMAGE, "a.png")
    assert b == expected_record(tiny_model, other, "b.png")
    for item, name in ((text, "notes.txt"), (empty, "empty.png"), (half, "half.png")):
        assert list(item) == ["source", "error"]
        assert item["source"] == name
        assert name in item["error"]
        assert "\n" not in item["error"]


def test_an_unreadable_image_of_a_json_list_does_not_reject_the_others(client, tiny_model):
    texts = ["*", to_base64(b"text"), to_base64(), "", to_base64(IMAGE[:200])]
    response = client.post("/analyze", json={"images": texts})
    assert response.status_code == 200
    not_base64, not_image, record, empty, damaged = response.json()
    assert record == expected_record(tiny_model, IMAGE)
    for number, item, problem in (
        (0, not_base64, "not base64"), (1, not_image, "not an image"), (3, empty, "empty"),
        (4, damaged, "damaged"),
    ):  # fmt: skip
        assert item["source"] == ""
        assert item["error"].startswith(f"Cannot read image {number}: it is {problem}")


def test_an_image_with_too_many_pixels_does_not_reject_the_others(tiny_model):
    with serving.in_process(tiny_model, max_image_pixels=5000) as client:
        files = [("i", ("large.png", serving.image_file(99, 99))), ("i", ("a.png", IMAGE))]
        first, second = client.post("/analyze", files=files).json()
        assert "99 x 99" in first["error"]
        assert second["source"] == "a.png"


def test_a_list_without_a_readable_image_gives_422(client):
    for request in ({"json": {"images": [""]}}, {"files": [("i", ("a.png", b"x"))]}):
        response = client.post("/analyze", **request)
        assert response.status_code == 422
        assert list(response.json()) == ["error"]
    files = [("i", ("a.png", b"x")), ("i", ("b.png", b""))]
    response = client.post("/analyze", files=files)
    assert response.status_code == 422
    assert list(response.json()) == ["error"]
    assert "2 images" in response.json()["error"]
    assert "a.png" in response.json()["error"]


def test_an_unknown_model_rejects_a_list_as_a_whole(client):
    files = [("i", ("a.png", IMAGE)), ("i", ("b.png", b""))]
    response = client.post("/analyze?model=unheard-of", files=files)
    assert (response.status_code, "unheard-of" in response.json()["error"]) == (422, True)


def test_query_parameters_select_model_detector_and_contempt(client, tiny_model):
    record = client.post("/analyze?contempt=true", content=IMAGE).json()
    assert record == expected_record(tiny_model, IMAGE, contempt=True)
    assert "contempt" in record["faces"][0]["emotions"]
    record = client.post("/analyze?model=default-int8&detector=whole", content=IMAGE).json()
    assert (record["model"], record["detector"]) == ("default-int8", "whole")


INVALID_REQUESTS = {
    "empty body": ({"content": b""}, 422, "image"),
    "not an image": ({"content": b"not an image"}, 422, "image"),
    "truncated image": ({"content": IMAGE[:200]}, 422, "image"),
    "url-encoded form": (
        {"content": "x=1", "headers": {"content-type": "application/x-www-form-urlencoded"}},
        415, "x-www-form"),
    "html": ({"content": "x", "headers": {"content-type": "text/html"}}, 415, "text/html"),
    "truncated JSON": ({"content": "{", "headers": JSON}, 422, "JSON"),
    "nested JSON": ({"content": "[" * 9000, "headers": JSON}, 422, "JSON"),
    "trailing comma": ({"content": "[],", "headers": JSON}, 422, "JSON"),
    "JSON list": ({"json": []}, 422, "BASE64"),
    "image is a number": ({"json": {"image": 1}}, 422, '"image"'),
    "images is a string": ({"json": {"images": "x"}}, 422, '"images"'),
    "no images": ({"json": {"images": []}}, 422, "1 to 16"),
    "too many images": ({"json": {"images": ["eA=="] * 17}}, 422, "1 to 16"),
    "invalid base64": ({"json": {"image": "*"}}, 422, "base64"),
    "two keys": ({"json": {"image": "eA==", "images": []}}, 422, "BASE64"),
    "large JSON": ({"json": {"images": list(range(20_000))}}, 422, "JSON"),
    "URL": ({"json": {"url": "http://example.com/a.png"}}, 422, "image"),
    "form fields only, sent URL-encoded": (
        {"data": {"image": "x"}, "files": {}}, 415, "urlencoded"),
    "SVG": ({"files": {"image": ("a.svg", b"<svg/>", "image/svg+xml")}}, 422, "a.svg"),
    "too many files": (
        {"files": [("i", (f"{n}.png", IMAGE)) for n in range(17)]}, 422, "files"),
    "form without boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "form"),
    "invalid form": (
        {"content": b"--a\r\n\r\nx\r\n--a--\r\n",
         "headers": {"content-type": "multipart/form-data; boundary=a"}}, 422, "form"),
    "unknown model": ({"content": IMAGE, "params": {"model": "unheard-of"}}, 422, "unheard-of"),
    "path as model": ({"content": IMAGE, "params": {"model": "/etc/x.onnx"}}, 422, "/etc/x.onnx"),
    "unknown parameter": ({"content": IMAGE, "params": {"modle": "best"}}, 422, "modle"),
    "misspelled detector": ({"content": IMAGE, "params": {"detector": "yunnet"}}, 422, "'yunet'"),
    "invalid boolean": ({"content": IMAGE, "params": {"contempt": "perhaps"}}, 422, "contempt"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_options", "status", "expected_text"), INVALID_REQUESTS.values(), ids=INVALID_REQUESTS
)
def test_an_invalid_request_gives_an_error_of_one_line(
    client, request_options, status, expected_text
):
    response = client.post("/analyze", **request_options)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert expected_text in response.json()["error"]
    assert "\n" not in response.json()["error"]


def test_errors_of_unknown_paths_and_methods_have_the_same_format(client):
    response = client.get("/nothing")
    assert (response.status_code, list(response.json())) == (404, ["error"])
    response = client.get("/analyze")
    assert (response.status_code, list(response.json())) == (405, ["error"])
    assert response.headers["allow"] == "POST"
    assert client.get("/docs").status_code == 404


def test_models_and_health_checks_respond(client):
    models = client.get("/models").json()
    assert models["default"] == "tiny"
    assert {"tiny", "default", "default-int8"} <= {model["name"] for model in models["models"]}
    assert {"yunet", "whole"} <= set(models["detectors"])
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_a_model_file_replaces_the_packaged_model_with_the_same_name(tiny_model, tmp_path):
    path = tmp_path / "default.onnx"
    path.write_bytes(tiny_model.read_bytes())
    with serving.in_process(path) as client:
        assert serving.client_backend(client).analyzers.models["default"].path == path


HEAD_PATHS = ("/", "/page.js", "/constants.js", "/healthz", "/readyz", "/models", "/metrics",
              "/openapi.json")  # fmt: skip


@pytest.mark.parametrize("path", HEAD_PATHS)
def test_head_gives_the_headers_of_get(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_is_neither_in_openapi_nor_allowed_for_post_routes(client):
    operations = client.get("/openapi.json").json()["paths"].values()
    assert not any("head" in operation for operation in operations)
    response = client.head("/analyze")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_connection_can_be_used_again_after_a_head_request(tiny_model):
    with serving.on_loopback(tiny_model) as (url, _):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        for path in ("/", "/healthz", "/metrics", "/nothing"):
            connection.request("HEAD", path)
            response = connection.getresponse()
            assert response.status == (404 if path == "/nothing" else 200)
            assert response.read() == b""
            connection.request("GET", "/healthz")
            assert json.loads(connection.getresponse().read()) == {"status": "alive"}
        connection.close()


@pytest.mark.parametrize(
    ("path", "location"),
    [("/healthz/", "../healthz"), ("//", "../"),
     ("/models/?x=1&y=%20\u00e9", "../models?x=1&y=%20%C3%A9"),
     ("/openapi.json/", "../openapi.json"), ("/page.js/", "../page.js"),
     ("/videos/x/", "../x"), ("/videos/a%0d%0aB:%20c/", "../a%0D%0AB%3A%20c"),
     ("/videos/javascript:x/", "../javascript%3Ax")],
)  # fmt: skip
def test_redirects_are_relative(client, path, location):
    response = client.get(f"http://testserver{path}", follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, location)


def test_a_redirect_keeps_the_prefix_and_host_of_a_proxy(client):
    location = client.post("/analyze/", content=IMAGE, follow_redirects=False).headers["location"]
    assert urljoin("https://faces.example/mien/analyze/", location) == (
        "https://faces.example/mien/analyze"
    )
    assert client.post("/analyze/", content=IMAGE).status_code == 200


@pytest.mark.parametrize("path", ["/nothing/", "/healthz//", "//evil.example/", "/analyze/x/"])
def test_paths_without_a_route_are_not_redirected(client, path):
    assert client.get(f"http://testserver{path}", follow_redirects=False).status_code == 404


def test_metrics_have_stable_names_and_the_prometheus_format(client):
    client.post("/analyze", content=IMAGE)
    response = client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert not any("_created" in name for name in families)
    assert {name: f.type for name, f in families.items() if name.startswith("mien_")} == {
        "mien_requests": "counter",
        "mien_request_duration_seconds": "histogram",
        "mien_images": "counter",
        "mien_faces": "counter",
        "mien_batch_faces": "histogram",
        "mien_videos": "counter",
        "mien_live_frame_duration_seconds": "histogram",
        "mien_live_frames_dropped": "counter",
        "mien_images_in_progress": "gauge",
        "mien_request_body_bytes": "gauge",
        "mien_live_connections": "gauge",
        "mien_videos_stored": "gauge",
    }
    for name in ("mien_requests_total", "mien_faces_total", "mien_live_frames_dropped_total"):
        assert f"# TYPE {name} counter" in text
    requests = [sample.labels for sample in families["mien_requests"].samples]
    assert {"route": "/analyze", "status": "200"} in requests
    bucket = r'^mien_request_duration_seconds_bucket{le="\+Inf",route="/analyze"} \d'
    assert re.search(bucket, text, re.MULTILINE)


def test_metrics_count_all_unknown_paths_as_one_route(client):
    for path in ("/unknown-1", "/unknown-2"):
        assert client.get(path).status_code == 404
    text = client.get("/metrics").text
    assert 'mien_requests_total{route="other",status="404"}' in text
    assert "unknown" not in text


def test_openapi_describes_all_routes_and_its_examples_work(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/analyze", "/videos", "/videos/{job_id}", "/videos/{job_id}/events",
        "/videos/{job_id}/results/{name}", "/models", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert "apparent expression" in schema["info"]["description"]
    example = schema["components"]["schemas"]["FrameRecord"]["example"]
    record = client.post("/analyze", files={"image": ("photo.jpg", IMAGE)}).json()
    assert set(example) == set(record)
    assert set(example["faces"][0]) == set(record["faces"][0])
    files = [("i", ("notes.txt", b"text")), ("i", ("photo.jpg", IMAGE))]
    error = client.post("/analyze", files=files).json()[0]
    assert error == schema["components"]["schemas"]["ImageError"]["example"]
    body = schema["paths"]["/analyze"]["post"]["requestBody"]["content"]["application/json"]
    for body_example in body["examples"].values():
        assert client.post("/analyze", json=body_example["value"]).status_code == 200


def test_the_serve_command_reports_errors(mien, tmp_path, monkeypatch):
    assert mien("serve", "--host", "256.0.0.1")[0] == 2
    assert "/dev/null" in mien("serve", "--token-file", "/dev/null")[2]  # an empty file
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff")
    missing_error = mien("serve", "--token-file", missing)[2]
    assert missing_error == f"mien: Cannot read {missing}: No such file or directory.\n"
    assert "is not UTF-8 text" in mien("serve", "--token-file", binary)[2]
    assert "'eagle'" in mien("serve", "--port", "0", "--detector", "eagle")[2]
    # Without uvicorn, which is imported when `mien.server.server` is.
    monkeypatch.delattr("mien.server.server", raising=False)
    monkeypatch.delitem(sys.modules, "mien.server.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install '.[serve]'" in mien("serve")[2]


def test_a_file_name_with_an_emoji_and_a_line_break_gives_valid_json(client):
    response = client.post("/analyze", files={"image": ("\U0001f600\n.png", IMAGE)})
    assert json.loads(response.text)["source"]
