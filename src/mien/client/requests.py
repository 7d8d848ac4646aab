"""Send requests to a mien server, and raise its error responses as exceptions."""

from __future__ import annotations

import http.client
import io
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from types import MappingProxyType
from typing import IO, Any, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

from mien.errors import UserError

DEFAULT_PORTS = {"http": 80, "https": 443}

BLOCK_BYTES = 2**20
"""Size of the blocks in which the body of a response is read."""


class ServerError(UserError):
    """The server cannot be reached, or rejects a request for a reason that concerns all files."""


class Request(NamedTuple):
    """An HTTP request to the server.

    Attributes:
        method: HTTP method, such as `"GET"`.
        path: Path of the route, such as `"/analyze"`.
        query: Query parameters.
        body: Content, or a file that can be read again from its start; None for no body.
        content_type: Media type of the body; empty for none.
    """

    method: str
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    body: bytes | IO[bytes] | None = None
    content_type: str = ""


class RequestSender:
    """Sends requests to one server; each request opens a new connection. Thread-safe.

    Args:
        url: The server's address, such as `"http://127.0.0.1:8000"`.
        token: Bearer token; empty if the server requires none.
        timeout: Timeout of each network operation in seconds, and maximum time in seconds for which
            a request is retried while the server is busy.

    Raises:
        UserError: If `url` is not the address of a server.
    """

    def __init__(self, url: str, token: str, timeout: float) -> None:
        self._url, self._token, self._timeout = _parse_url(url), token, timeout

    def read(self, request: Request) -> bytes:
        """Send a request, and retry it while the server is busy.

        Returns:
            The body of the response.

        Raises:
            ServerError: The server cannot be reached, or its error response concerns all files.
            UserError: The response is another error response.
        """
        return b"".join(self.read_blocks(request))

    def read_json(self, request: Request) -> Any:
        """Send a request as `read` does, and return the decoded JSON of the response."""
        return json.loads(self.read(request))

    def read_blocks(self, request: Request) -> Iterator[bytes]:
        """Send a request as `read` does, and yield the body of the response in blocks."""
        deadline = time.monotonic() + self._timeout
        while True:
            with closing(self._connection()) as connection, self._network_errors():
                response = self._send(connection, request)
                retry_after = _retry_after_seconds(response)
                if response.status != 503 or time.monotonic() + retry_after > deadline:
                    if response.status >= 400:
                        raise _response_error(response)
                    while block := response.read(BLOCK_BYTES):
                        yield block
                    if response.length:  # a read with a size does not raise an error for this
                        raise http.client.HTTPException("the response ended early")
                    return
            time.sleep(retry_after)
            if request.body is not None and not isinstance(request.body, bytes):
                request.body.seek(0)  # the file has been read by the first attempt

    def _send(
        self, connection: http.client.HTTPConnection, request: Request
    ) -> http.client.HTTPResponse:
        query = f"?{urlencode(request.query)}" if request.query else ""
        target = self._url.path.rstrip("/") + request.path + query
        headers: dict[str, str | bytes] = {}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}".encode()
        body = request.body
        if isinstance(body, bytes):
            # A file object is sent in blocks, and the timeout applies to each block.
            headers["Content-Length"] = str(len(body))
            body = io.BytesIO(body)
        try:
            connection.request(request.method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have rejected the body before reading all of it, and sent a response.
            if connection.sock is None:  # not connected, so there is no response
                raise
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        classes = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        host = self._url.hostname or ""
        return classes[self._url.scheme](host, self._url.port, timeout=self._timeout)

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        """Raise network errors as `ServerError`."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServerError(
                f"Cannot reach a mien server at {self._url.netloc}: {reason}."
            ) from None


def _parse_url(url: str) -> SplitResult:
    parts, port = urlsplit(url), None
    with suppress(ValueError):
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    if port is None or not parts.hostname:
        raise UserError(f"{url!r} is not a server's address; write it as http://127.0.0.1:8000.")
    return parts


def _retry_after_seconds(response: http.client.HTTPResponse) -> float:
    """Return the time of the `Retry-After` header; 1 if the header is missing or not a number."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 1.0


def _response_error(response: http.client.HTTPResponse) -> UserError:
    """Return an exception with the message of an error response."""
    try:
        message = str(json.loads(response.read())["error"])
    except (ValueError, KeyError, TypeError):
        message = f"The server responded {response.status} {response.reason}."
    # Besides failures of the server, these are a wrong token (401), origin (403) or host name
    # (421), and the rate limit of a proxy (429).
    affects_all_files = response.status in (401, 403, 421, 429) or response.status >= 500
    return ServerError(message) if affects_all_files else UserError(message)
