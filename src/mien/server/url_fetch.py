"""Fetches images from URLs without giving clients access to the service's own network (SSRF).

Only http and https on their default ports, only public addresses; the address is checked when the
connection is made (DNS can change in between), and again for each redirect. Bounded in size and
time.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

from mien.errors import UserError

TIMEOUT_SECONDS = 10.0
MAX_REDIRECTS = 3
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
DEFAULT_PORTS = {"http": 80, "https": 443}

NAT64_NETWORK = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that contain an IPv4 address (RFC 6052)."""

NON_PUBLIC_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("::/96", "64:ff9b:1::/48", "fec0::/10", "192.0.0.0/24")
]
"""Networks that older Python versions wrongly treat as public."""

IsAllowed = Callable[[str, int, str], bool]
"""Whether an IP address and port may be connected to by a scheme."""


def is_public(address: str) -> bool:
    """Whether an IP address, or the IPv4 address inside an IPv6 one, is on the public internet."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip in network for network in NON_PUBLIC_NETWORKS):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64_NETWORK:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def is_allowed_address(address: str, port: int, scheme: str) -> bool:
    """Whether an address is public and the port is the default of its scheme."""
    return port == DEFAULT_PORTS[scheme] and is_public(address)


def fetch(
    url: str,
    max_bytes: int,
    timeout_seconds: float = TIMEOUT_SECONDS,
    is_allowed: IsAllowed = is_allowed_address,
) -> bytes:
    """Download a URL.

    Args:
        url: http or https.
        max_bytes: largest size of the response body.
        timeout_seconds: for all redirects together.
        is_allowed: whether to connect to an IP address and port, by a scheme.

    Raises:
        UserError: the URL is invalid or not allowed, or the download fails or exceeds a limit.
    """
    deadline = time.monotonic() + timeout_seconds
    for _ in range(MAX_REDIRECTS + 1):
        target = _parse(url)
        try:
            response = _request(target, max_bytes, deadline, is_allowed)
        except UserError:
            raise
        except (OSError, http.client.HTTPException, ValueError):
            # The reason is withheld: it would reveal what exists in this network.
            raise _no_image(target.hostname) from None
        if isinstance(response, bytes):
            return response
        url = urljoin(url, response)
    raise UserError(f"{target.hostname} redirects too often. Send the image itself.")


def _no_image(host: str | None) -> UserError:
    return UserError(f"Cannot fetch an image from {host}. Send the image itself.")


def _parse(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError:
        target, port = urlsplit(""), None
    if target.scheme not in DEFAULT_PORTS or not target.hostname or target.username is not None:
        raise UserError("The URL is invalid; it must start with http:// or https:// and a host.")
    if port == 0 or not url.isascii() or any(c <= " " for c in url):
        raise UserError("The URL is invalid; percent-encode spaces and non-ASCII characters.")
    return target


def _request(
    target: SplitResult, max_bytes: int, deadline: float, is_allowed: IsAllowed
) -> bytes | str:
    """The response body, or the location of a redirect."""
    host = target.hostname or ""
    connected = _connect(target, deadline, is_allowed)
    # Socket timeouts bound each wait; this timer bounds their sum, however slowly bytes arrive.
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [connected])
    timer.start()
    try:
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection = http.client.HTTPConnection(host, target.port or DEFAULT_PORTS[target.scheme])
        connection.sock = connected
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "mien"})
        response = connection.getresponse()
        location = response.getheader("location")
        if response.status in REDIRECT_STATUSES and location:
            return location
        if response.status != 200:
            raise _no_image(host)
        body = response.read(max_bytes + 1)
    finally:
        timer.cancel()
        connected.close()
    if len(body) > max_bytes:
        raise UserError(f"The file at {host} is larger than {max_bytes >> 20} MiB.")
    if time.monotonic() > deadline:
        raise UserError(f"{host} did not respond in time. Send the image itself.")
    return body


def _connect(target: SplitResult, deadline: float, is_allowed: IsAllowed) -> socket.socket:
    """A connection to the very address that was checked."""
    host, port = target.hostname or "", target.port or DEFAULT_PORTS[target.scheme]
    candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in candidates]
    if not addresses or not all(is_allowed(address, port, target.scheme) for address in addresses):
        raise UserError(f"{host} is not a public address. Send the image itself.")
    family, kind, protocol, _, address = candidates[0]
    plain = socket.socket(family, kind, protocol)
    try:
        plain.settimeout(max(0.1, deadline - time.monotonic()))
        plain.connect(address)
        if target.scheme == "http":
            return plain
        context = ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # SSLSocket.shutdown would discard the TLS state while another thread reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
