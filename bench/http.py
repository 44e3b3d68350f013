"""Spending over HTTP: a real server in a process of its own, 64 connections, a token each."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import jwt

from bench.harness import Desk, Row, percentile
from bench.spending import CUSTOMERS, stock
from paydesk.settings import Settings

CONNECTIONS = 64


def spend(desk: Desk, seconds: float) -> None:
    """POST spend, and an authenticated route of the same server that does nothing."""
    stock(desk.env, CUSTOMERS)
    told = asdict(desk.settings) | {"default_credit_price": str(desk.settings.default_credit_price)}
    told |= {k: str(told[k]) for k in ("promo_fixed_min", "promo_fixed_max")}
    server = subprocess.Popen([sys.executable, "-m", "bench.http", json.dumps(told)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        until = datetime.now(UTC) + timedelta(hours=1)
        tokens = [
            jwt.encode({"sub": f"bench-1-{n}", "exp": until}, desk.settings.jwt_secret, "HS256")
            for n in range(500)
        ]
        rates = {}
        for path, body in (("/_bench/nothing", b"{}"), ("/v1/credits/spend", b'{"credits":1}')):
            asyncio.run(drive(port, path, body, tokens, 1.0))
            rates[path] = asyncio.run(drive(port, path, body, tokens, seconds))
        nothing, _ = rates["/_bench/nothing"]
        rate, latencies = rates["/v1/credits/spend"]
        desk.report(Row("HTTP: route that does nothing, 64 connections", nothing))
        desk.report(Row("HTTP: POST spend with JWT, 64 connections", rate,
                        percentile(latencies, 0.5), percentile(latencies, 0.99), target="0.3 R",
                        note=f"{rate / nothing:.2f} of the route that does nothing, target 0.3"))
    finally:
        server.communicate(timeout=20)


async def drive(
    port: int, path: str, body: bytes, tokens: list[str], seconds: float
) -> tuple[float, list[float]]:
    """Each connection sends its next request when the last is answered."""
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    async def connection(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while time.perf_counter() < stop_at:
            token = tokens[turn % len(tokens)]
            turn += CONNECTIONS
            begin = time.perf_counter()
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode() + (await reader.read(2000)).decode())
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            latencies.append((time.perf_counter() - begin) * 1000)
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(connection(n) for n in range(CONNECTIONS)))
    return len(latencies) / (time.perf_counter() - begin), latencies


def child(told: str) -> None:
    """The server: prints its port, serves until its standard input ends."""
    import os
    import socket
    import threading
    from decimal import Decimal

    from starlette.requests import Request
    from starlette.responses import Response

    from paydesk.assemble import build_env
    from paydesk.http import logs
    from paydesk.http.app import create_app
    from paydesk.http.routes import enter
    from paydesk.http.server import serve

    logs.configure("warning")  # Nobody reads a line for each request here.
    words = json.loads(told)
    for name in ("default_credit_price", "promo_fixed_min", "promo_fixed_max"):
        words[name] = Decimal(words[name])
    env = build_env(replace(Settings(), **words), start_missing=False)
    app = create_app(env)

    async def nothing(request: Request) -> Response:
        enter(request.scope, frozenset({"customer"}), "/_bench/nothing")
        await request.body()
        return Response(b'{"object":"nothing"}', media_type="application/json")

    app.add_route("/_bench/nothing", nothing, methods=["POST"])
    sock = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(sock.getsockname()[1], flush=True)

    def until_end_of_input() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=until_end_of_input, daemon=True).start()
    serve(app, sock=sock)


if __name__ == "__main__":
    child(sys.argv[1])
