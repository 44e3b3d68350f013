"""The service as a process of its own, and clients that repeat what was not answered."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from load import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent


class Service:
    """`paydesk serve` with its worker, on one port however often it is started."""

    def __init__(self, settings: Any, folder: Path, **more: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = settings.secret_key
        self.log = folder / "service.log"
        told = {
            "PAYDESK_PORT": self.port, "DATABASE_URL": settings.database_url,
            "PAYDESK_SIMULATOR_URL": settings.simulator_url, "JWT_SECRET": settings.jwt_secret,
            "STRIPE_WEBHOOK_SECRET": settings.stripe_webhook_secret,
            "PAYDESK_SECRET_KEY": settings.secret_key, "PAYDESK_RATE_LIMIT": 10**6,
            "MAX_DAILY_TRANSACTIONS": 10**9, "MAX_CREDIT_BALANCE": 10**12,
            "PAYDESK_DATA_DIR": folder / "data", "PYTHONPATH": ROOT / "src",
        } | more  # fmt: skip
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(folder),
                         **{name: str(value) for name, value in told.items()}}  # fmt: skip
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Service:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paydesk", "serve", "--with-worker"],
                env=self._environ, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._is_up, 120)
        return self

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.tail()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/live", timeout=2).status_code == 200
        return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def ended(self, timeout_s: float) -> int:
        """The exit status; raises TimeoutExpired."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def memory_mb(self) -> float:
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {self.key}"},
            verify=False,  # plain HTTP; reading certificates takes longer than the request
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[Service]:
        try:
            yield self.start()
        finally:
            if self.process is not None and self.process.poll() is None:
                self.kill()


class Clients:
    """Applications over HTTP: they spend and start checkouts, each request with its key, again
    and again until it is answered. `answers`: (path, key) -> the 2xx body."""

    def __init__(self, service: Service, users: list[str], *, seed: int, threads: int = 4) -> None:
        print(f"seed {seed}")
        self.service = service
        self.users = users
        self.answers: dict[tuple[str, str], dict[str, Any]] = {}
        self.broken = 0
        self.faults: list[str] = []
        self.surprises: list[BaseException] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(seed * 100 + n,), daemon=True)
            for n in range(threads)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(180)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.surprises, self.surprises
        assert not self.faults, self.faults[:3]

    def wait_for(self, more: int, timeout_s: float) -> None:
        before = len(self.answers)
        wait_for(lambda: self.surprises or len(self.answers) >= before + more, timeout_s)

    def spends(self) -> list[dict[str, Any]]:
        return [body for (path, _), body in self.answers.items() if path.endswith("/spend")]

    def checkouts(self) -> list[dict[str, Any]]:
        return [body for (path, _), body in self.answers.items() if path.endswith("/checkouts")]

    def _guarded(self, seed: int) -> None:
        try:
            with self.service.client() as client:
                self._run(client, random.Random(seed), seed)
        except BaseException as exc:
            self.surprises.append(exc)
            raise

    def _run(self, client: httpx.Client, dice: random.Random, seed: int) -> None:
        number = 0
        while not self._stopping.is_set():
            number += 1
            user = dice.choice(self.users)
            path, body = "/v1/credits/spend", {"customer": user, "credits": dice.randint(1, 5)}
            if number % 5 == 0:
                path, body = "/v1/checkouts", {"customer": user, "pack": "creator"}
            self._settled(client, path, body, f"{seed}-{number}")

    def _settled(self, client: httpx.Client, path: str, body: Any, key: str) -> None:
        until = time.monotonic() + 150
        while time.monotonic() < until:
            try:
                answer = client.post(path, json=body, headers={"Idempotency-Key": f'"{key}"'})
            except httpx.TransportError:
                self.broken += 1
                time.sleep(0.05)
                continue
            if answer.is_success:
                self.answers[path, key] = answer.json()
                return
            if answer.status_code not in (409, 429, 503):
                self.faults.append(f"{answer.status_code} {answer.text[:300]}")
                return
            time.sleep(0.05)
        raise AssertionError(f"{path} {key} was never answered")
