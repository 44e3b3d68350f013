"""The edge over sockets: messages with two ends, slow and large ones, hosts, headers, origins."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from http_support import OWN_KEY, Client, problem_of, running
from service_document import DOCUMENT
from starlette.routing import Route
from starlette.websockets import WebSocketDisconnect

from paydesk.http import edge, limits, live, server
from paydesk.http.app import create_app

HEADERS = ("x-content-type-options", "x-frame-options", "referrer-policy", "request-id",
           "cross-origin-opener-policy", "cross-origin-resource-policy", "permissions-policy",
           "content-security-policy", "cache-control")  # fmt: skip
AUTH = f"Authorization: Bearer {OWN_KEY}\r\nContent-Type: application/json\r\n"
BODY = '{"external_id": "user_1"}'


def exchange(url: str, *parts: bytes) -> bytes:
    """Everything that comes back until the other side closes the connection."""
    parsed = urlsplit(url)
    with socket.create_connection((parsed.hostname, parsed.port), timeout=30) as sock:
        for part in parts:
            sock.sendall(part)
        found = b""
        try:
            while more := sock.recv(65_536):
                found += more
        except ConnectionResetError:
            pass
        return found


def customers_of(env: Any) -> int:
    with env.db.read() as tx:
        return tx.value("select count(*) from customers")


@pytest.mark.parametrize(
    "lengths",
    [
        f"Content-Length: {len(BODY)}\r\nContent-Length: {len(BODY) + 5}\r\n",
        f"Content-Length: {len(BODY)}\r\nContent-Length: {len(BODY)}\r\n",
        f"Content-Length: {len(BODY)}, {len(BODY)}\r\n",
        f"Content-Length: {len(BODY)}\r\nTransfer-Encoding: chunked\r\n",
        f"Transfer-Encoding: chunked\r\nContent-Length: {len(BODY)}\r\n",
        f"Transfer-Encoding: identity\r\nContent-Length: {len(BODY)}\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +25\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x19\r\n",
        "Content-Length : 25\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
    ],
)  # fmt: skip
def test_a_message_with_two_ends_is_refused_and_nothing_behind_it_is_read(env, lengths):
    # I38: one request in, at most one answer out, and no second request is smuggled in.
    smuggled = f"GET /v1/packs HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n"
    head = f"POST /v1/customers HTTP/1.1\r\nHost: x\r\n{AUTH}Connection: close\r\n{lengths}\r\n"
    with running(env) as url:
        said = exchange(url, (head + BODY + smuggled).encode())
    assert said.count(b"HTTP/1.1 ") <= 1, said
    assert said[9:12] in (b"400", b"413", b""), said
    assert customers_of(env) == 0


def test_the_edge_itself_refuses_two_lengths(env):
    # I38: whatever server stands before it.
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:
        for two in ([(b"content-length", b"2"), (b"content-length", b"2")],
                    [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")],
                    [(b"content-length", "٣".encode())]):  # fmt: skip
            answer = http.request("POST", "/v1/customers", headers=two)
            problem_of(answer, 400, "malformed_request")


def test_a_body_that_drips_ends_in_time(env, monkeypatch):
    # I31: slow bodies hold nobody up.
    monkeypatch.setattr(edge, "BODY_S", 0.2)
    monkeypatch.setattr(server, "IDLE_S", 1)
    head = f"POST /v1/customers HTTP/1.1\r\nHost: x\r\n{AUTH}Content-Length: 500\r\n\r\n"
    with running(env) as url:
        said = exchange(url, head.encode(), b'{"external_id":')
    assert b" 408 " in said.splitlines()[0] and b"request_timeout" in said
    assert customers_of(env) == 0


def test_a_head_that_drips_or_never_ends_is_given_up(env, monkeypatch):
    # I31
    monkeypatch.setattr(server, "HEAD_S", 2.0)
    with running(env) as url:
        assert exchange(url, b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""
        first = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        kept = exchange(url, first, b"GET /health/live HTTP/1.1\r\nX-Slow: ")
    assert kept.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    ("length", "drip"), [(100_000, b"x"), (0, b"\r\n")], ids=["body", "empty lines"]
)
def test_what_drips_after_an_answer_keeps_no_connection(env, monkeypatch, length, drip):
    # I31: a body that nobody reads, and what parsers skip between two requests.
    monkeypatch.setattr(server, "IDLE_S", 1)
    head = f"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    with running(env) as url:
        parsed = urlsplit(url)
        with socket.create_connection((parsed.hostname, parsed.port), timeout=30) as sock:
            sock.sendall(head.encode())
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
            sock.settimeout(0.1)
            drips = 0
            while drips < 300:
                try:
                    sock.sendall(drip)
                    if not sock.recv(65_536):
                        break
                except TimeoutError:
                    drips += 1
                except (BrokenPipeError, ConnectionResetError):
                    break
    assert drips < 300  # It was ended long before.


def test_a_head_without_end_is_refused(env):
    # I31
    line = b"X-Long: " + b"x" * 60_000
    with running(env) as url:
        parsed = urlsplit(url)
        with socket.create_connection((parsed.hostname, parsed.port), timeout=30) as sock:
            sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
            sent = 0
            try:
                while sent < 50_000_000:
                    sent += sock.send(line)
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert sent < 50_000_000  # It was ended long before.


def test_a_chunked_body_above_the_limit_is_refused(env):
    # I31: no length says how much comes.
    head = f"POST /v1/customers HTTP/1.1\r\nHost: x\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n"
    size = env.settings.max_body_bytes + 10
    chunk = f"{size:x}\r\n".encode() + b"x" * size + b"\r\n0\r\n\r\n"
    with running(env) as url:
        said = exchange(url, (head.replace(AUTH, AUTH + "Connection: close\r\n")).encode(), chunk)
    assert b" 413 " in said.splitlines()[0], said[:300]


@pytest.mark.parametrize(
    ("trusted", "host", "is_served"),
    [
        ("pay.example.com", "PAY.example.com:8000", True),
        ("pay.example.com", "pay.example.com.evil.io", False),
        ("pay.example.com", "evil.example", False), ("*.example.com", "eu.pay.example.com", True),
        ("*.example.com", "example.com", False), ("*.example.com", "badexample.com", False),
        ("[::1]", "[::1]:8000", True), ("[::1]", "[::2]:8000", False),
        ("[::1],localhost", "localhost", True),
        ("*", "anything", True),
    ],
)  # fmt: skip
def test_hosts_are_named_whole_by_their_end_or_not_at_all(env, trusted, host, is_served):
    named = replace(env, settings=replace(env.settings, trusted_hosts=trusted))
    with Client(create_app(named)) as client:
        answer = client.get("/health/live", headers={"host": host})
        assert answer.status_code == (200 if is_served else 421)
        feed = client.as_user("user_1")
        if not is_served:
            with pytest.raises(WebSocketDisconnect), feed.websocket_connect(
                "/v1/credits/live", headers={"host": host}
            ):
                pass
        else:
            with feed.websocket_connect("/v1/credits/live", headers={"host": host}) as socket:
                assert socket.receive_json()["balance"] == 0


def test_two_hosts_are_one_too_many(env):
    named = replace(env, settings=replace(env.settings, trusted_hosts="pay.example.com"))
    with Client(create_app(named)) as client:
        both = [(b"host", b"pay.example.com"), (b"host", b"evil.example")]
        problem_of(client.get("/health/live", headers=both), 421, "misdirected_request")


@pytest.mark.timeout(300)
def test_every_address_and_every_page_answers_with_the_security_headers(env, sim):
    # S1.5: refusals, pages, files, methods that are not there.
    paths = {path for path in DOCUMENT["paths"] if path != live.STREAM_PATH}
    app = create_app(env)
    paths |= {r.path for r in app.routes if isinstance(r, Route) and r.path != live.STREAM_PATH}
    wrong = []
    with Client(app) as nobody:
        for number, path in enumerate(sorted(paths)):
            there = path.replace("{path:path}", "none").replace("{", "").replace("}", "")
            for method in ("GET", ("OPTIONS", "TRACE", "PUT")[number % 3]):
                answer = nobody.request(method, there, headers={"Accept": "text/html"},
                                        follow_redirects=False)  # fmt: skip
                missing = [name for name in HEADERS if name not in answer.headers]
                if missing or answer.status_code >= 500 or "server" in answer.headers:
                    wrong.append((method, there, answer.status_code, missing))
                policy = answer.headers.get("content-security-policy", "")
                if "unsafe-inline" in policy or "frame-ancestors 'none'" not in policy:
                    wrong.append((method, there, policy))
    assert not wrong, wrong


def test_strict_transport_security_is_told_where_the_desk_is_reached_by_https(env):
    for address, is_told in (("https://pay.example.com", True), ("http://localhost:8000", False)):
        told = replace(env, settings=replace(env.settings, public_url=address))
        with Client(create_app(told)) as client:
            found = client.get("/health/live").headers
            assert ("strict-transport-security" in found) is is_told


@pytest.mark.timeout(300)
def test_preflights_answer_named_origins_on_every_address_and_nobody_else(env):
    origin = "https://app.example.com"
    named = replace(env, settings=replace(env.settings, cors_origins=origin))
    asked = {"Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,content-type,idempotency-key"}
    with Client(create_app(named)) as client:
        for path in DOCUMENT["paths"]:
            found = client.options(path, headers={**asked, "Origin": origin})
            assert found.status_code == 200, path
            assert found.headers["access-control-allow-origin"] == origin
            assert "access-control-allow-credentials" not in found.headers
            stranger = client.options(path, headers={**asked, "Origin": origin + ".evil.io"})
            assert "access-control-allow-origin" not in stranger.headers
            null = client.options(path, headers={**asked, "Origin": "null"})
            assert "access-control-allow-origin" not in null.headers
        refused = client.get("/v1/payments", headers={"Origin": origin})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:198.51.100.7", "198.51.100.7", True), ("198.51.100.7", "198.51.100.8", False),
        ("fe80::1%eth0", "fe80::2", True), ("unknown", "testclient", False),
    ],
)  # fmt: skip
def test_a_network_of_ipv6_is_one_guest(one, other, are_one):
    # I39: a household has 2^64 addresses; each of them a quota would be none.
    assert (limits.network_of(one) == limits.network_of(other)) is are_one
