"""What the service answers instead of a result: a status and one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response


class Refused(Exception):
    """A request that is not served. status: HTTP. message: one sentence for a person."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


class Gone(Exception):
    """The client left, or was too slow to be waited for; there is nobody to answer."""


def busy(what: str, seconds: float = 1.0, most: float = 30) -> Refused:
    """The refusal of more than can be done now, with when to come again, in `most` seconds."""
    wait = str(max(1, round(min(most, seconds))))
    return Refused(503, f"{what}; try again in {wait} s.", {"Retry-After": wait})


def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The sentence as JSON: `{"error": "..."}`."""
    body = json.dumps({"error": message}, ensure_ascii=False)
    body = body.encode("utf-8", "replace").decode()
    return Response(body, status, dict(headers or {}), "application/json")
