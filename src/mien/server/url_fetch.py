"""Download images from URLs without giving clients access to the server's network (SSRF).

Only http and https on their default ports and only public addresses are allowed. The address is
checked when the connection is opened, because DNS can change before, and again for each redirect.
Size and time are limited.
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

FETCH_TIMEOUT_SECONDS = 10.0
MAX_REDIRECTS = 3
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
DEFAULT_PORTS = {"http": 80, "https": 443}

NAT64_NETWORK = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that contain an IPv4 address (RFC 6052)."""

NON_PUBLIC_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("::/96", "64:ff9b:1::/48", "fec0::/10", "192.0.0.0/24")
]
"""Networks that older Python versions wrongly classify as public."""

IsAllowed = Callable[[str, int, str], bool]
"""Function of IP address, port and URL scheme that returns whether to connect."""


def is_public(address: str) -> bool:
    """Return whether an IP address, and any IPv4 address embedded in it, is public."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip in network for network in NON_PUBLIC_NETWORKS):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded_ip = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64_NETWORK:
            embedded_ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if embedded_ip is not None:
            return is_public(str(embedded_ip))
    return ip.is_global and not ip.is_multicast


def is_allowed_address(address: str, port: int, scheme: str) -> bool:
    """Return whether an address is public and the port is the default of its scheme."""
    return port == DEFAULT_PORTS[scheme] and is_public(address)


def fetch(
    url: str,
    max_bytes: int,
    timeout_seconds: float = FETCH_TIMEOUT_SECONDS,
    is_allowed: IsAllowed = is_allowed_address,
) -> bytes:
    """Download a URL and return the response body.

    Args:
        url: URL of the file, with the scheme http or https.
        max_bytes: maximum size of the response body.
        timeout_seconds: maximum time, including all redirects.
        is_allowed: function that returns whether to connect to an address.

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
            # The reason is not shown, because it could reveal details of this network.
            raise _fetch_error(target.hostname) from None
        if isinstance(response, bytes):
            return response
        url = urljoin(url, response)
    raise UserError(f"{target.hostname} redirects too often. Send the image instead of its URL.")


def _fetch_error(host: str | None) -> UserError:
    return UserError(f"Cannot download an image from {host}. Send the image instead of its URL.")


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
    """Return the response body as bytes, or the URL of a redirect as a string."""
    host = target.hostname or ""
    connection_socket = _connect(target, deadline, is_allowed)
    # The timeout of the socket limits each wait; this timer limits the total time.
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [connection_socket])
    timer.start()
    try:
        if isinstance(connection_socket, ssl.SSLSocket):
            connection_socket.do_handshake()
        connection = http.client.HTTPConnection(host, target.port or DEFAULT_PORTS[target.scheme])
        connection.sock = connection_socket
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "mien"})
        response = connection.getresponse()
        location = response.getheader("location")
        if response.status in REDIRECT_STATUSES and location:
            return location
        if response.status != 200:
            raise _fetch_error(host)
        body = response.read(max_bytes + 1)
    finally:
        timer.cancel()
        connection_socket.close()
    if len(body) > max_bytes:
        raise UserError(f"The file at {host} is too large; send at most {max_bytes >> 20} MiB.")
    if time.monotonic() > deadline:
        raise UserError(f"{host} did not respond in time. Send the image instead of its URL.")
    return body


def _connect(target: SplitResult, deadline: float, is_allowed: IsAllowed) -> socket.socket:
    """Connect to an address after checking it; DNS is not queried again."""
    host, port = target.hostname or "", target.port or DEFAULT_PORTS[target.scheme]
    candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[0]) for *_, address in candidates]
    if not addresses or not all(is_allowed(address, port, target.scheme) for address in addresses):
        raise UserError(f"{host} is not a public address. Send the image instead of its URL.")
    family, kind, protocol, _, address = candidates[0]
    tcp_socket = socket.socket(family, kind, protocol)
    try:
        tcp_socket.settimeout(max(0.1, deadline - time.monotonic()))
        tcp_socket.connect(address)
        if target.scheme == "http":
            return tcp_socket
        context = ssl.create_default_context()
        return context.wrap_socket(tcp_socket, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        tcp_socket.close()
        raise


def _shut_down(connection_socket: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # SSLSocket.shutdown would discard the TLS state while another thread reads.
        socket.socket.shutdown(connection_socket, socket.SHUT_RDWR)
