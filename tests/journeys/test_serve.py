"""`paydesk serve` and `paydesk worker`: for production; nothing that is missing is started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from desk_process import TAKEN, eventually

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def start(tmp_path):
    """`start("serve", NAME=value)` runs a command; it is ended with the test."""
    started = []

    def run(*arguments: str, **environ: str) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(TAKEN)}
        process = subprocess.Popen(
            [sys.executable, "-m", "paydesk", *arguments], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**clean, "PYTHONPATH": str(SOURCE), **environ},
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_serve_answers_and_ends_in_order(start, database):
    port = free_port()
    process = start("serve", "--port", str(port), "--with-worker", DATABASE_URL=database.dsn,
                    PAYDESK_SECRET_KEY="sk_test_of_this_test", JWT_SECRET="j" * 40)  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    eventually(lambda: answers(f"{base}/health/live"), timeout_s=60)
    packs = httpx.get(f"{base}/v1/packs", trust_env=False,
                      headers={"Authorization": "Bearer sk_test_of_this_test"})  # fmt: skip
    assert packs.status_code == 200
    # The sandbox's home is development's alone.
    page = httpx.get(f"{base}/dev", headers={"Accept": "text/html"}, trust_env=False)
    assert page.status_code == 404
    refused = httpx.get(f"{base}/v1/packs", headers={"Authorization": "Bearer sk_test_dev"},
                        trust_env=False)  # fmt: skip
    assert refused.status_code == 401
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_worker_works_until_it_is_told_to_stop(start, database):
    process = start("worker", DATABASE_URL=database.dsn)
    assert "works" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_without_a_database_they_say_so(start, command):
    process = start(command)
    assert process.wait(60) == 2
    assert "DATABASE_URL" in process.stdout.read()


def test_serve_refuses_a_schema_that_is_behind(start, empty_database):
    process = start("serve", DATABASE_URL=empty_database.dsn)
    assert process.wait(60) == 2
    assert "paydesk db migrate" in process.stdout.read()


def test_migrate_brings_it_up_once(start, empty_database):
    first = start("db", "migrate", DATABASE_URL=empty_database.owner_dsn)
    assert first.wait(60) == 0
    assert "applied" in first.stdout.read()
    second = start("db", "migrate", DATABASE_URL=empty_database.owner_dsn)
    assert second.wait(60) == 0
    assert "up to date" in second.stdout.read()
