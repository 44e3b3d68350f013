"""Logs as JSON lines, with the request id, and without secrets or card numbers."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

from paydesk.http.bodies import looks_like_card

_SECRET_NAME = re.compile(
    r"authorization|cookie|secret|password|token|signature|api_?key|card|cvc|dsn|database_url",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|rk|pk)_(?:live|test)_[\w-]+|\bwhsec_\S+|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\bses_[\w-]{16,}|\b(?:pi|seti|cs)_\w+_secret_\w+|(?<=Bearer )\S{16,}|(?<=Basic )[\w+/=]{16,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?<=password=)\S+",
)
HIDDEN = "[hidden]"

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: str = "info") -> None:
    """Send our own and the libraries' log lines to standard error as JSON."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_Standard()),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_Standard())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.INFO))
    # uvicorn takes a refused WebSocket handshake, which was answered in full, for a fault.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing handshake" not in record.getMessage()
    )
    for noisy in ("httpx", "httpcore", "stripe", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Standard(io.TextIOBase):
    """Standard error as it is when a line is written: an application may exchange or close it."""

    def write(self, text: str, /) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide values by their name, and secrets and card numbers inside any text."""
    return {key: _clean(key, value, 0) for key, value in event.items()}


def hide(text: str) -> str:
    """The text without what looks like a key, a token, a password in an address, or a card."""
    text = _SECRET_TEXT.sub(HIDDEN, text)
    if len(text) >= 13 and looks_like_card(text):
        text = re.sub(r"\d(?:[ -]?\d){12,}", HIDDEN, text)
    return text


def _clean(name: str, value: Any, depth: int) -> Any:
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict) and depth < 6:
        return {str(k): _clean(str(k), v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple) and depth < 6:
        return [_clean(name, v, depth + 1) for v in value]
    return value


def _render(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    try:
        return _encode(dict(event)).decode()
    except UnicodeEncodeError:  # Half of a pair of surrogates, which UTF-8 cannot hold.
        return json.dumps(event, default=str)
