"""A desk as `paydesk dev` starts it, for tests that need the real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk_test_dev"


class Desk:
    """A running `paydesk dev` with its data in `folder`. `close()` stops it as Ctrl-C does."""

    def __init__(
        self, folder: Path, *arguments: str, environ: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(TAKEN)}
        self.out = open(folder / "screen.txt", "w+b")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "paydesk", "dev", "--port", "0", "--data-dir",
             str(folder / "data"), *arguments],
            cwd=folder, stdout=self.out, stderr=subprocess.STDOUT, start_new_session=True,
            env={**clean, "PYTHONPATH": str(ROOT / "src"), **(environ or {})},
        )  # fmt: skip
        self.url = ""
        self.client = httpx.Client(trust_env=False, timeout=30)

    def wait(self, timeout_s: float = 90) -> Desk:
        """Until requests are answered and the screen is printed."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"paydesk dev ended: {self.screen()}")
            running = self.note("running.json")
            if running.get("port") and "Ctrl-C stops" in self.screen():
                self.url = f"http://localhost:{running['port']}"
                return self
            time.sleep(0.05)
        raise AssertionError(f"paydesk dev was not ready: {self.screen()}")

    def note(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "data" / name).read_text())
        except (OSError, ValueError):
            return {}

    def screen(self) -> str:
        return (self.folder / "screen.txt").read_text(errors="replace")

    @property
    def simulator(self) -> str:
        return self.note("simulator.json")["url"]

    def api(self, method: str, path: str, body: Any = None, key: str = KEY, **headers: str) -> Any:
        """Call the API; answers the JSON, raises AssertionError for a refusal."""
        answer = self.client.request(
            method, self.url + path, json=body,
            headers={"Authorization": f"Bearer {key}", **headers},
        )  # fmt: skip
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def buy(self, customer: str, pack: str = "creator", card: str = "4242424242424242",
            **more: Any) -> dict[str, Any]:  # fmt: skip
        """A checkout, paid on the simulator's page with this card; answers the checkout."""
        from paydesk.simulator.cli import pay

        made = self.api("POST", "/v1/checkouts", {"customer": customer, "pack": pack, **more})
        pay(made["payment"]["provider_session_id"], card, self.simulator)
        return made

    def processes(self) -> list[int]:
        """Every process that holds a file of this desk open or names its folder: ours to end."""
        import psutil

        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), process.cwd()]
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if any(str(self.folder) in word for word in words):
                found.append(process.pid)
        return [pid for pid in found if pid != os.getpid()]

    def kill(self) -> None:
        """As a power cut for the main process alone."""
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        """Ctrl-C, and wait for the end; answers the exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.client.close()
        self.out.close()
        return self.process.returncode


#: Settings of whoever runs the tests, which must not leak into a desk.
TAKEN = ("PAYDESK_", "STRIPE_", "DATABASE_URL", "REDIS_", "JWT_", "DB_", "PG", "PAYMENT_SERVICE")


def eventually(check: Any, timeout_s: float = 60, what: str = "") -> Any:
    """The first true answer of `check`. Raises AssertionError with its last answer."""
    until = time.monotonic() + timeout_s
    found = check()
    while not found:
        assert time.monotonic() < until, what or f"still {found!r}"
        time.sleep(0.05)
        found = check()
    return found
