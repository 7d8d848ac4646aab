"""Whatever is sent, the answer is a result or a sentence: bodies by hypothesis, paths by their own
OpenAPI."""

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

PICTURE = serving.picture(24, 24)
FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\n"

quick = settings(
    max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model, max_bytes=2**20, max_jobs=2) as client:
        yield client


def is_fine(found):
    """A record, or one sentence that says why not."""
    assert found.status_code in (200, 403, 413, 415, 422), found.text
    if found.status_code != 200:
        assert list(found.json()) == ["error"]
    return True


@st.composite
def damaged(draw, body):
    """A body with some of its bytes changed, cut or doubled."""
    body = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(body)))
        kind = draw(st.sampled_from(("change", "cut", "double", "insert")))
        if kind == "change":
            body[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del body[place : place + draw(st.integers(1, 200))]
        elif kind == "double":
            body[place:place] = body[place : place + 100]
        else:
            body[place:place] = draw(st.binary(max_size=50))
    return bytes(body)


kinds = st.sampled_from((
    "image/png", "application/octet-stream", "application/json", "multipart/form-data; boundary=b",
    "multipart/form-data", "multipart/form-data; boundary=", "text/plain", "x" * 3000, ";;;",
    "\xff",
))  # fmt: skip


@quick
@given(st.binary(max_size=400) | damaged(PICTURE), kinds)
def test_any_body_of_any_kind(client, body, kind):
    headers = {b"content-type": kind.encode("latin-1")}
    assert is_fine(client.post("/analyze", content=body, headers=headers))


@quick
@given(damaged(FORM + PICTURE + b"\r\n--b--\r\n"))
def test_any_damaged_form(client, body):
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert is_fine(client.post("/analyze", content=body, headers=headers))


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@quick
@given(
    st.dictionaries(st.sampled_from(("image", "images", "url", "urls", "x")), values)
    | values
    | damaged(json.dumps({"image": base64.b64encode(PICTURE).decode()}).encode())
)
def test_any_json(client, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert is_fine(
        client.post("/analyze", content=body, headers={"content-type": "application/json"})
    )


@quick
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10))
def test_any_query(client, model, detector, contempt):
    query = {"model": model, "detector": detector, "contempt": contempt}
    assert is_fine(client.post("/analyze", content=PICTURE, params=query))


@settings(quick, max_examples=30)
@given(st.binary(max_size=300), st.text(max_size=40))
def test_any_video(client, body, name):
    headers = {"content-type": "video/mp4"}
    found = client.post("/videos", content=body, params={"name": name}, headers=headers)
    assert found.status_code in (202, 422)
    if found.status_code == 202:
        assert client.get(f"{found.headers['location']}/events").status_code == 200
        assert client.delete(found.headers["location"]).status_code == 204


@pytest.mark.slow
def test_the_service_keeps_what_its_openapi_promises(client):
    service = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    service.app = client.app
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    tried = 0
    for found in service.get_all_operations():
        operation = found.ok()

        @settings(quick, max_examples=12)
        @given(operation.as_strategy())
        def hold(case):
            nonlocal tried
            tried += 1
            answer = case.call(session=client, base_url="http://testserver")
            if answer.status_code == 202:
                client.delete(answer.headers["location"][0])
            if answer.status_code != 503:
                case.validate_response(answer, checks=checks)

        hold()
    assert tried > 60
