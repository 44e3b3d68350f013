"""Runs the shell blocks of the documentation against a desk in development."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from desk_process import TAKEN, Desk

SOURCE = Path(__file__).resolve().parents[2] / "src"


class DocsShell:
    """`shell(page, code, name)` runs a block; every line of it must succeed.

    In a block `./run` is the command line beside the running desk, and localhost:8000 is its
    address. Blocks of a page share a folder, so that one may leave a file for the next.
    """

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self.folder = folder

    def __call__(self, page: str, code: str, name: str) -> None:
        place = self.folder / page
        place.mkdir(exist_ok=True)
        shim = place / "run"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m paydesk "$@"\n')
        shim.chmod(0o755)
        port = self.desk.url.rpartition(":")[2]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(TAKEN)}
        environ = {
            **clean, "PAYDESK_DATA_DIR": str(self.desk.folder / "data"),
            "PYTHONPATH": str(SOURCE), "NO_PROXY": "*", "no_proxy": "*",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code.replace("localhost:8000", f"localhost:{port}")],
            cwd=place, env=environ, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}:\n{code}\n{done.stdout}\n{done.stderr}"
