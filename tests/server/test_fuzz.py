"""Fuzzing: any body or query gives a result or an error response, as described by OpenAPI."""

import base64
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server import serving

IMAGE = serving.image_file(24, 24)
FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\n"

quick = settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model, max_body_bytes=2**20, max_jobs=2) as client:
        yield client


def assert_record_or_error(response):
    assert response.status_code in (200, 413, 415, 422), response.text
    if response.status_code != 200:
        assert list(response.json()) == ["error"]


@st.composite
def corrupted(draw, body):
    """Generate copies of `body` with changed, removed, repeated or inserted bytes."""
    body = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        edit = draw(st.sampled_from(("change", "remove", "repeat", "insert")))
        if edit == "change":
            body[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
        elif edit == "remove":
            del body[start : start + draw(st.integers(1, 200))]
        elif edit == "repeat":
            body[start:start] = body[start : start + 100]
        else:
            body[start:start] = draw(st.binary(max_size=50))
    return bytes(body)


content_types = st.sampled_from((
    "image/png", "application/octet-stream", "application/json", "multipart/form-data; boundary=b",
    "multipart/form-data", "multipart/form-data; boundary=", "text/plain", "x" * 3000, ";;;",
    "\xff",
))  # fmt: skip


@quick
@given(st.binary(max_size=400) | corrupted(IMAGE), content_types)
def test_any_body_of_any_content_type_gives_a_record_or_an_error(client, body, content_type):
    headers = {b"content-type": content_type.encode("latin-1")}
    assert_record_or_error(client.post("/analyze", content=body, headers=headers))


@quick
@given(corrupted(FORM + IMAGE + b"\r\n--b--\r\n"))
def test_any_corrupted_form_gives_a_record_or_an_error(client, body):
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert_record_or_error(client.post("/analyze", content=body, headers=headers))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@quick
@given(
    st.dictionaries(st.sampled_from(("image", "images", "url", "urls", "x")), json_values)
    | json_values
    | corrupted(json.dumps({"image": base64.b64encode(IMAGE).decode()}).encode())
)
def test_any_json_gives_a_record_or_an_error(client, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert_record_or_error(
        client.post("/analyze", content=body, headers={"content-type": "application/json"})
    )


@quick
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10))
def test_any_query_gives_a_record_or_an_error(client, model, detector, contempt):
    query = {"model": model, "detector": detector, "contempt": contempt}
    assert_record_or_error(client.post("/analyze", content=IMAGE, params=query))


@settings(quick, max_examples=30)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_any_video_is_queued_or_rejected(client, body, name):
    headers = {"content-type": "video/mp4"}
    response = client.post("/videos", content=body, params={"name": name}, headers=headers)
    assert response.status_code in (202, 422)
    if response.status_code == 202:
        location = response.headers["location"]
        assert client.get(f"{location}/events").status_code == 200
        assert client.delete(location).status_code == 204


@pytest.mark.slow
def test_all_routes_conform_to_openapi(client):
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    schema.app = client.app
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    calls = 0
    for operation_result in schema.get_all_operations():
        operation = operation_result.ok()

        @settings(quick, max_examples=12)
        @given(operation.as_strategy())
        def check(case):
            nonlocal calls
            calls += 1
            response = case.call(session=client, base_url="http://testserver")
            if response.status_code == 202:
                (location,) = response.headers["location"]  # Schemathesis has lists of values
                client.delete(location)
            if response.status_code != 503:
                case.validate_response(response, checks=checks)

        check()
    assert calls > 60  # at most 12 for each of the 10 operations
