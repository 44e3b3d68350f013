"""Calls to addresses that a user gave: checked before anything is sent, bounded in time and size.

The name is resolved once, every address it has is checked, and the connection goes to a checked
address: a name that changes between check and use changes nothing. Redirects are not followed,
proxies of the environment are not used, and TLS certificates are verified for the name.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpcore

from paydesk.errors import AddressRefused

if TYPE_CHECKING:
    from paydesk.settings import Settings

__all__ = ["Answer", "Guard", "Target", "Unreachable", "check_address", "guard_of", "refusal"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: (host, port) -> addresses as text. Replaced in tests of names that change.
Resolve = Callable[[str, int], list[str]]

#: Everything but the global addresses of the IANA special-purpose registry, with the addresses
#: inside clouds that look global.
_REFUSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",
    )
]  # fmt: skip
#: Of IPv6 only global unicast is taken, without the parts that tunnel, document or test.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = [
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]  # fmt: skip
#: A host that programs read as a number in different ways: decimal, octal, hexadecimal, short.
_NUMERIC_HOST = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$", re.IGNORECASE)
_HOST = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
                   r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?", re.IGNORECASE)  # fmt: skip
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
#: A name with many addresses is tried at so many of them.
_ADDRESSES_TRIED = 3


class Unreachable(Exception):
    """The call was allowed and brought no whole answer. The text says why, without the body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` has at most the bytes asked for; `is_cut`: there was more."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_cut: bool
    duration_ms: int

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Target:
    """An address taken apart once; everything after uses these parts."""

    scheme: str
    host: str
    port: int
    path: str
    is_literal: bool

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True)
class Guard:
    """What may be called. `allow_loopback`: this machine's own addresses, on any port and
    without TLS; for the sandbox."""

    allow_loopback: bool = False
    ports: frozenset[int] = frozenset({443, 8443})
    resolve: Resolve | None = None

    def target(self, url: str) -> Target:
        """The parts of an address that may be called. Raises AddressRefused. Asks no name server,
        so that it can be told when the address is typed."""
        target = _parsed(url)
        is_local = _names_this_machine(target)
        may_be_local = self.allow_loopback and is_local
        if is_local and not may_be_local:
            raise AddressRefused(
                f"{target.host!r} is this machine. While you develop, `paydesk listen --forward-to`"
                " brings events there; PAYDESK_OUTGOING_LOOPBACK=1 allows such addresses."
            )
        if target.scheme != "https" and not may_be_local:
            raise AddressRefused("The address must begin with https://.")
        if target.port not in self.ports and not may_be_local:
            named = ", ".join(map(str, sorted(self.ports)))
            raise AddressRefused(f"Port {target.port} is not called; these are: {named}.")
        if target.is_literal:
            check_address(target.host, allow_loopback=may_be_local)
        return target

    def addresses(self, target: Target, deadline: float) -> list[str]:
        """Every address of the host, all of them checked. Raises AddressRefused, Unreachable."""
        if target.is_literal:
            found = [target.host]
        else:
            found = _in_time(self.resolve or _resolve, target, deadline)
        may_be_local = self.allow_loopback and _names_this_machine(target)
        for one in found:
            check_address(one, allow_loopback=may_be_local)
        if not found:
            raise Unreachable(f"{target.host!r} has no address.")
        return found

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 15.0,
        max_bytes: int = 65_536,
    ) -> Answer:
        """One call, answered within `timeout_s` in all, names and TLS included.

        An answer of any status is an Answer, a redirect too. Raises AddressRefused when the
        address may not be called, Unreachable when no answer came.
        """
        target = self.target(url)
        started = time.monotonic()
        deadline = started + timeout_s
        addresses = self.addresses(target, deadline)
        backend = _Pinned(addresses, deadline)
        sent = {"Host": target.authority, "Accept-Encoding": "identity", "Connection": "close",
                **(headers or {})}  # fmt: skip
        if body or method not in ("GET", "HEAD"):
            sent["Content-Length"] = str(len(body))
        try:
            with httpcore.ConnectionPool(
                ssl_context=_tls() if target.scheme == "https" else None,
                network_backend=backend, retries=0, max_connections=1,
            ) as pool, pool.stream(
                method,
                httpcore.URL(
                    scheme=target.scheme.encode(), host=target.host.encode(), port=target.port,
                    target=target.path.encode("ascii"),
                ),
                headers=_checked(sent),
                content=body,
                extensions={"timeout": dict.fromkeys(_TIMEOUTS, timeout_s)},
            ) as response:  # fmt: skip
                content, is_cut = _read(response.stream, max_bytes)
                return Answer(
                    response.status,
                    {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers},
                    content, is_cut, int((time.monotonic() - started) * 1000),
                )  # fmt: skip
        except httpcore.TimeoutException as exc:
            raise Unreachable(f"No whole answer came within {timeout_s:g} s.") from exc
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol,
                OSError) as exc:  # fmt: skip
            raise Unreachable(f"{type(exc).__name__}: {str(exc)[:200]}".strip(": ")) from exc


_TIMEOUTS = ("connect", "read", "write", "pool")


def guard_of(settings: Settings) -> Guard:
    """The guard that these settings ask for. Loopback is never allowed where money is real."""
    ports = {int(one) for one in re.findall(r"\d{1,5}", settings.outgoing_ports)}
    return Guard(
        allow_loopback=settings.outgoing_loopback and not settings.live,
        ports=frozenset(ports or {443}),
    )


def check_address(text: str, *, allow_loopback: bool = False) -> Address:
    """The address, if anybody on the internet may be meant by it. Raises AddressRefused."""
    try:
        found: Address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressRefused(f"{text[:64]!r} is no internet address.") from None
    if getattr(found, "scope_id", None):
        raise AddressRefused("An address of one network card is not called.")
    if allow_loopback:
        if found.is_loopback:
            return found
        raise AddressRefused("This name must lead to this machine only.")
    if why := refusal(found):
        raise AddressRefused(f"The address {found} is not called: {why}.")
    return found


def refusal(address: Address) -> str | None:
    """Why an address is not on the public internet; None when it is."""
    if isinstance(address, ipaddress.IPv4Address):
        inside = next((n for n in _REFUSED_V4 if address in n), None)
        return f"{inside} is reserved" if inside else None
    if address not in _GLOBAL_V6:
        return "it is not global unicast"
    inside6 = next((n for n in _REFUSED_V6 if address in n), None)
    return f"{inside6} is reserved" if inside6 else None


# Taking an address apart ------------------------------------------------------------------------


def _parsed(url: str) -> Target:
    if len(url) > 2048 or re.search(r"[\x00-\x20\x7f\\]", url) or not url.isascii():
        raise AddressRefused("The address must be plain ASCII of at most 2048 characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressRefused("The address cannot be read.") from None
    scheme = parts.scheme.lower()
    if scheme not in ("https", "http"):
        raise AddressRefused("The address must begin with https://.")
    if "@" in parts.netloc:
        raise AddressRefused("The address may not hold a user name or password.")
    is_literal, host = _host(host)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, port or (443 if scheme == "https" else 80), path, is_literal)


def _host(host: str) -> tuple[bool, str]:
    """(Is an address, host). A number in any form but the usual one is refused, not guessed."""
    try:
        return True, str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if ":" in host or _NUMERIC_HOST.search(host):
        raise AddressRefused("Write an address in its usual form, such as 203.0.113.7.")
    if not _HOST.fullmatch(host):
        raise AddressRefused("The host name cannot be read.")
    return False, host.rstrip(".").lower()


def _names_this_machine(target: Target) -> bool:
    if target.is_literal:
        return ipaddress.ip_address(target.host).is_loopback
    return target.host == "localhost" or target.host.endswith(".localhost")


def _checked(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    found = []
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or re.search(r"[\x00-\x1f\x7f]", value):
            raise AddressRefused(f"The header {name[:64]!r} cannot be sent.")
        found.append((name.encode(), value.encode("latin-1", "replace")))
    return found


# Names and connections ---------------------------------------------------------------------------


def _resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _in_time(resolve: Resolve, target: Target, deadline: float) -> list[str]:
    """Ask for the name's addresses in a thread of its own: the system's way knows no time-out."""
    found: list[list[str] | Exception] = []

    def ask() -> None:
        try:
            found.append(resolve(target.host, target.port))
        except (OSError, UnicodeError) as exc:
            found.append(exc)

    thread = threading.Thread(target=ask, name="paydesk-resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not found:
        raise Unreachable(f"{target.host!r} was not resolved in time.")
    if isinstance(found[0], Exception):
        raise Unreachable(f"{target.host!r} cannot be resolved.")
    return found[0]


@functools.cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Pinned(httpcore.NetworkBackend):
    """Connects to checked addresses only, whatever host is asked for, until the deadline."""

    def __init__(self, addresses: list[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None,
        local_address: str | None = None, socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        tried = self._addresses[:_ADDRESSES_TRIED]
        for n, address in enumerate(tried):
            left = _left(self._deadline)
            try:
                stream = self._inner.connect_tcp(address, port, left / (len(tried) - n))
                return _Timed(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if n == len(tried) - 1:
                    raise
        raise AssertionError("there is at least one address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise AssertionError("never asked for")


class _Timed(httpcore.NetworkStream):
    """A stream of which every step ends by the one deadline, however slowly bytes drip."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        inner = self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _Timed(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left


def _read(stream: Any, max_bytes: int) -> tuple[bytes, bool]:
    """The first bytes of an answer; the rest is left unread and the connection closed."""
    content = bytearray()
    for chunk in stream:
        content += chunk
        if len(content) > max_bytes:
            return bytes(content[:max_bytes]), True
    return bytes(content), False
