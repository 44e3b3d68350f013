"""Log lines that never change what is done.

A line may hold what a provider or a database said, in any letters, and its stream may be closed or
take no such letters. Whoever logs is often in the middle of an error already: a second one from
the log would take the place of the first, and stop what goes on after it.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any

import structlog


def plain(text: str) -> str:
    """The text in letters that any stream takes: half pairs and control characters are spelled."""
    text = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Logger:
    """structlog's methods. What cannot be written is written once more in plain letters, and left
    out where even that fails."""

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger(name)

    def debug(self, event: str, **values: Any) -> None:
        """Write a line that only those look for who look for a fault."""
        self._write("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        """Write a line about what goes on."""
        self._write("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        """Write a line about what did not work now and is tried again."""
        self._write("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        """Write a line about what somebody has to look at."""
        self._write("error", event, values)

    def exception(self, event: str, **values: Any) -> None:
        """Write a line about the exception that is being handled, with its traceback."""
        self._write("error", event, {"exc_info": True, **values})

    def _write(self, level: str, event: str, values: dict[str, Any]) -> None:
        handled = sys.exc_info()[1]
        try:
            getattr(self._log, level)(event, **values)
        except Exception:  # Whatever it is: nobody who logs has to expect it.
            with contextlib.suppress(Exception):
                getattr(self._log, level)(plain(event), **_spelled(values, handled))


def get_logger(name: str) -> Logger:
    """The logger of a module: `get_logger(__name__)`."""
    return Logger(name)


def _spelled(values: dict[str, Any], handled: BaseException | None) -> dict[str, Any]:
    spelled = {key: plain(str(value)) for key, value in values.items() if key != "exc_info"}
    fault = values.get("exc_info")
    fault = fault if isinstance(fault, BaseException) else handled if fault else None
    if fault is not None:
        spelled["exception"] = plain("".join(traceback.format_exception(fault)))
    return spelled
