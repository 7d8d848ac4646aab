"""Error responses: an HTTP status and one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response


class RequestError(Exception):
    """A request that is answered with an error response.

    Args:
        status: the HTTP status, 4xx or 5xx.
        message: one sentence for people: what is wrong, then what to do.
        headers: additional response headers.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


class ClientDisconnected(Exception):
    """The client closed the connection, or timed out; no response can be sent."""


def service_unavailable(
    reason: str, retry_after_seconds: float = 1.0, max_retry_seconds: float = 30
) -> RequestError:
    """A 503 error with a `Retry-After` header of 1 to `max_retry_seconds` seconds."""
    seconds = str(max(1, round(min(max_retry_seconds, retry_after_seconds))))
    return RequestError(503, f"{reason}; try again in {seconds} s.", {"Retry-After": seconds})


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The response `{"error": message}` as JSON."""
    body = json.dumps({"error": message}, ensure_ascii=False)
    body = body.encode("utf-8", "replace").decode()
    return Response(body, status, dict(headers or {}), "application/json")
