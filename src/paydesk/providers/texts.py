"""Providers' JSON as it can be kept: JSON has strings that neither databases nor UTF-8 have."""

from __future__ import annotations

from typing import Any

#: In the place of what no text can have.
ODD = "\ufffd"


def may_be_odd(raw: str | bytes) -> bool:
    """Whether JSON as it came can hold a NUL or half of a pair of surrogates. In a text each is an
    escape; bytes can have a half as it is, behind 0xED, and in UTF-16, with NULs, an escape too."""
    if isinstance(raw, bytes):
        return any(sign in raw for sign in (b"\\u0000", b"\\ud", b"\\uD", b"\xed", b"\0"))
    return "\\u0000" in raw or "\\ud" in raw or "\\uD" in raw


def text(value: str) -> str:
    """The string without NUL and without halves of pairs."""
    if value.isascii():
        return value.replace("\0", ODD)
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", ODD)


def clean(value: Any) -> Any:
    """The same JSON in strings that can be kept. Raises RecursionError for what is too deep."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [clean(one) for one in value]
    if isinstance(value, dict):
        return {clean(name): clean(one) for name, one in value.items()}
    return value


def is_id(value: Any) -> bool:
    """Whether this can be an id: letters that can be seen, and not too many."""
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()
