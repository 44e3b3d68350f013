"""Runs the shell blocks of the documentation against a desk in development."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from desk_process import TAKEN, Desk, eventually

KIT = Path(__file__).resolve().parent
SOURCE = Path(__file__).resolve().parents[2] / "src"


class DocsShell:
    """`shell(page, code, name)` runs a block; every line of it must succeed.

    In a block `./run` is the command line beside the running desk, each command forked from a
    process that has the modules (command_server.py), and localhost:8000 is the desk's address.
    Blocks of a page share a folder, so that one may leave a file for the next.
    """

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.folder = folder
        self._socket = folder / "commands"
        self._server = subprocess.Popen(
            [sys.executable, str(KIT / "command_server.py"), str(self._socket)],
            env=self._environ(), cwd=folder,
        )  # fmt: skip
        eventually(lambda: self._socket.exists() or self._server.poll() is not None, 60)
        assert self._server.poll() is None, "the server of commands did not start"

    def close(self) -> None:
        self._server.terminate()
        self._server.wait(60)

    def __call__(self, page: str, code: str, name: str) -> None:
        place = self.folder / page
        place.mkdir(exist_ok=True)
        shim = place / "run"
        client = f'"{sys.executable}" -I -S "{KIT / "command_client.py"}" "{self._socket}"'
        shim.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
        shim.chmod(0o755)
        port = self.desk.url.rpartition(":")[2]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code.replace("localhost:8000", f"localhost:{port}")],
            cwd=place, env=self._environ(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}:\n{code}\n{done.stdout}\n{done.stderr}"

    def _environ(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(TAKEN)}
        return {
            **clean, "PAYDESK_DATA_DIR": str(self.desk.folder / "data"),
            "PYTHONPATH": str(SOURCE), "NO_PROXY": "*", "no_proxy": "*",
        }  # fmt: skip
