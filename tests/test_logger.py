"""What is logged never changes what is done."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from paydesk.http import logs
from paydesk.logger import get_logger, plain

FAULT = """
import sys
from paydesk.http import logs
from paydesk.logger import get_logger

if sys.argv[1] == "json":
    logs.configure("info")
log = get_logger("x")
try:
    raise ValueError("half of a pair: \\ud800, no byte: \\0")
except ValueError:
    log.exception("an event cannot be applied", event_id="evt_1", said="\\udfff")
log.info("the next")
if sys.argv[2] == "closed":
    sys.stderr.close()
    sys.stdout.close()
    log.warning("nobody reads this", said="a")
    log.error("nor this", said="\\ud800")
"""


@pytest.mark.parametrize("how", ["json", "as it comes"])
@pytest.mark.parametrize("then", ["open", "closed"])
def test_a_line_in_odd_letters_is_written_and_raises_nothing(how, then):  # I29
    run = subprocess.run(
        [sys.executable, "-c", FAULT, how, then], capture_output=True, text=True,
        env={"PYTHONIOENCODING": "utf-8:strict", "NO_COLOR": "1"}, timeout=60,
    )  # fmt: skip
    written = run.stderr if how == "json" else run.stdout
    assert run.returncode == 0, run.stderr
    assert "an event cannot be applied" in written and "the next" in written
    assert "evt_1" in written and "ValueError: half of a pair: " in written
    assert "ud800" in written and "udfff" in written


def test_every_line_of_the_service_is_json_whatever_its_letters(monkeypatch):  # S1.4
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    text = logs._render(None, "info", {"event": "said", "by": "\ud800\0", "n": 10**30})
    out.write(text)
    assert json.loads(text) == {"event": "said", "by": "\ud800\0", "n": 10**30}


def test_plain_text_can_be_written_anywhere():
    assert plain("a\ud800b\0c\nd é") == "a\\ud800b\\x00c\nd \\xe9"


def test_a_logger_that_fails_always_raises_nothing(monkeypatch):
    log = get_logger("x")

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("full")

    monkeypatch.setattr(log, "_log", Broken())
    for write in (log.debug, log.info, log.warning, log.error, log.exception):
        write("what", about=1)
