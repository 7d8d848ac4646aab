"""Exceptions that end a request, and error responses with a message in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response


class RequestError(Exception):
    """Raised to send an error response to the client.

    Args:
        status: HTTP status, 4xx or 5xx.
        message: What is wrong, then what to do, in one line.
        headers: Additional response headers.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


class ClientDisconnected(Exception):
    """Raised when the client has closed the connection or does not read the response."""


def service_unavailable(reason: str, retry_after_seconds: float = 1.0) -> RequestError:
    """Return a 503 error that tells the client when to try again.

    Args:
        reason: What is wrong, without a full stop.
        retry_after_seconds: Value of the `Retry-After` header, rounded and limited to 1 to 30 s.
    """
    seconds = str(max(1, round(min(30, retry_after_seconds))))
    return RequestError(503, f"{reason}; try again in {seconds} s.", {"Retry-After": seconds})


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with the JSON body `{"error": message}`."""
    body = json.dumps({"error": message}, ensure_ascii=False)
    # A message can quote text from the client with lone surrogates, which UTF-8 cannot encode.
    body = body.encode("utf-8", "replace").decode()
    return Response(body, status, dict(headers or {}), "application/json")
