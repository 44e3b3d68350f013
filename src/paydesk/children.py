"""Processes that are started beside ours and end with it: the simulator."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from paydesk.logger import get_logger

log = get_logger(__name__)

_BACKLOG = 1024
_STOP_TIMEOUT_S = 5.0


class Simulator:
    """A simulator that somebody's process runs. `close()` ends it where that is ours."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None, note: Path) -> None:
        self.url = url
        self.pid = process.pid if process is not None else None
        self._process = process
        self._note = note
        self._owner = os.getpid()

    @property
    def is_alive(self) -> bool:
        return self._process is None or self._process.poll() is None

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start_simulator(
    data_dir: Path,
    *,
    port: int = 0,
    merchant: str = "Sandbox shop",
    webhooks: Sequence[tuple[str, str]] = (),
    join: bool = True,
) -> Simulator:
    """The simulator of that folder: joined when one answers (and `join`), started when none does.

    Ours binds the socket and hands it over, so requests may come before it is ready; it ends
    when this process ends, however that happens. `webhooks`: (address, signing secret).
    Without `port` it takes that of last time where it is free, so that links stay good.
    """
    data_dir = Path(data_dir).absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    note = data_dir / "simulator.json"
    last = _read(note, data_dir / "simulator.port")
    if join and last.url and _answers(last.url):
        return Simulator(last.url, None, note)
    sock = _bind([port] if port else [last.port, 0])
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    arguments = [
        sys.executable, "-m", "paydesk.simulator", "--fd", str(sock.fileno()),
        "--db", str(data_dir / "simulator.sqlite3"), "--merchant", merchant,
        "--base-url", url, "--exit-on-stdin-eof",
    ]  # fmt: skip
    for address, secret in webhooks:
        arguments += ["--webhook", f"{address}={secret}"]
    with sock, open(data_dir / "simulator.log", "ab") as out:
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=out,
            pass_fds=[sock.fileno()], start_new_session=True,
            env=_environment(),
        )  # fmt: skip
    note.write_text(json.dumps({"url": url, "pid": process.pid}), encoding="utf-8")
    (data_dir / "simulator.port").write_text(url.rpartition(":")[2], encoding="utf-8")
    return Simulator(url, process, note)


def _environment() -> dict[str, str]:
    """Ours, with the folder that this very package was imported from in the path."""
    here = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, path]))}


class _Last:
    """What the folder says of the last simulator."""

    def __init__(self, url: str, port: int) -> None:
        self.url = url
        self.port = port


def _read(note: Path, port: Path) -> _Last:
    url, number = "", 0
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        url = str(json.loads(note.read_text(encoding="utf-8"))["url"])
    with contextlib.suppress(OSError, ValueError):
        number = int(port.read_text(encoding="utf-8"))
    return _Last(url, number)


def _answers(url: str) -> bool:
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"{url}/_sim/stats", timeout=1.0) as answer:
            return answer.status == 200
    except (OSError, URLError, ValueError):
        return False


def _bind(ports: Sequence[int]) -> socket.socket:
    """The first of these ports that is free, listening on 127.0.0.1."""
    for number, port in enumerate(ports):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(_BACKLOG)
            return sock
        except OSError:
            sock.close()
            if number == len(ports) - 1:
                raise
    raise AssertionError("no port was given")
