"""Pictures from addresses, without becoming somebody's way into the network that the service is in.

Only http and https, only public addresses, looked at when the connection is made (a name may mean
something else a moment later), again for each redirect; bounded in size and time.
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

SECONDS = 10.0
MAX_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
EMBEDDING = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of version 6 that stand for one of version 4, behind a translator (RFC 6052)."""

CLOSED = [
    ipaddress.ip_network(net) for net in ("::/96", "64:ff9b:1::/48", "fec0::/10", "192.0.0.0/24")
]
"""What older Pythons take for public: forms of version 4 and places within a site."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, whatever it is wrapped in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if any(ip in net for net in CLOSED):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in EMBEDDING:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def is_allowed(host: str, port: int, scheme: str) -> bool:
    """Whether an address may be connected to: public, on the usual port of its scheme."""
    return port == PORTS[scheme] and is_public(host)


def fetch(
    url: str,
    most: int,
    seconds: float = SECONDS,
    allowed: Callable[[str, int, str], bool] = is_allowed,
) -> bytes:
    """What lies at an address, `most` bytes at most, within `seconds`; a `UserError` otherwise.

    allowed: whether to connect to an IP address and port, by a scheme.
    """
    end = time.monotonic() + seconds
    for _ in range(MAX_REDIRECTS + 1):
        where = _parsed(url)
        try:
            found = _asked(where, most, end, allowed)
        except UserError:
            raise
        except (OSError, http.client.HTTPException, ValueError):
            # Why is not told: it would say what else is in this network.
            raise UserError(f"{where.hostname} gave no picture.") from None
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise UserError(f"{where.hostname} redirects too often.")


def _parsed(url: str) -> SplitResult:
    try:
        where = urlsplit(url)
        port = where.port
    except ValueError:
        where, port = urlsplit(""), None
    if where.scheme not in PORTS or not where.hostname or where.username is not None:
        raise UserError("An address of a picture starts with http:// or https://.")
    if port == 0 or not url.isascii() or any(c <= " " for c in url):
        raise UserError("The address is not written as addresses are.")
    return where


def _asked(
    where: SplitResult, most: int, end: float, allowed: Callable[[str, int, str], bool]
) -> bytes | str:
    """The body, or where a redirect leads."""
    host = where.hostname or ""
    connected = _connected(where, end, allowed)
    # Each wait is bounded; this bounds all of them together, however slowly bytes trickle.
    watch = threading.Timer(max(0.0, end - time.monotonic()), _cut, [connected])
    watch.start()
    try:
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection = http.client.HTTPConnection(host, where.port or PORTS[where.scheme])
        connection.sock = connected
        path = (where.path or "/") + (f"?{where.query}" if where.query else "")
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "mien"})
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and (
            location := answer.getheader("location")
        ):
            return location
        if answer.status != 200:
            raise UserError(f"{host} gave no picture.")
        body = answer.read(most + 1)
    finally:
        watch.cancel()
        connected.close()
    if len(body) > most:
        raise UserError(f"What {host} has there is larger than {most >> 20} MiB.")
    if time.monotonic() > end:
        raise UserError(f"{host} is too slow.")
    return body


def _connected(
    where: SplitResult, end: float, allowed: Callable[[str, int, str], bool]
) -> socket.socket:
    """A connection to the very address that was looked at."""
    host, port = where.hostname or "", where.port or PORTS[where.scheme]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(place[0]) for *_, place in found]
    if not addresses or not all(allowed(address, port, where.scheme) for address in addresses):
        raise UserError(f"{host} is no place that pictures are fetched from.")
    family, kind, protocol, _, place = found[0]
    plain = socket.socket(family, kind, protocol)
    try:
        plain.settimeout(max(0.1, end - time.monotonic()))
        plain.connect(place)
        if where.scheme == "http":
            return plain
        secure = ssl.create_default_context()
        return secure.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise


def _cut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not its own shutdown, by which TLS would forget that it is TLS.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
