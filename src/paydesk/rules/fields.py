"""What free text and metadata may hold, wherever they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paydesk.errors import InvalidRequest

#: Bounds of metadata: as wide as Stripe's, so that ours fits into the provider's objects.
MAX_METADATA_KEYS = 50
MAX_METADATA_KEY_LENGTH = 40
MAX_METADATA_VALUE_LENGTH = 500


def text(value: Any, param: str, *, most: int, least: int = 1) -> str:
    """The text itself, unchanged. Raises InvalidRequest for another type, a length outside
    `least`..`most`, NUL, or a lone surrogate: PostgreSQL stores neither of the last two."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{param} must be a string.", param=param)
    if not least <= len(value) <= most:
        raise InvalidRequest(f"{param} must have {least} to {most} characters.", param=param)
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidRequest(f"{param} holds a character that cannot be stored.", param=param)
    return value


def optional_text(value: Any, param: str, *, most: int) -> str | None:
    return None if value is None else text(value, param, most=most, least=0)


def email(value: Any, param: str = "email") -> str | None:
    """An address with one @ and something on both sides; whether it exists, only mail can tell."""
    if value is None:
        return None
    address = text(value, param, most=320, least=3)
    name, at, domain = address.rpartition("@")
    if not (at and name and domain) or any(c.isspace() or not c.isprintable() for c in address):
        raise InvalidRequest(f"{param} is not an e-mail address.", param=param)
    return address


def metadata(value: Mapping[str, Any] | None, param: str = "metadata") -> dict[str, str]:
    """Keys and values as text; whole numbers and booleans are written out, None is left out."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{param} must be an object of strings.", param=param)
    if len(value) > MAX_METADATA_KEYS:
        raise InvalidRequest(f"{param} may have {MAX_METADATA_KEYS} keys.", param=param)
    found: dict[str, str] = {}
    for key, given in value.items():
        name = text(key, param, most=MAX_METADATA_KEY_LENGTH)
        if given is None:
            continue
        if isinstance(given, bool):
            given = "true" if given else "false"
        elif isinstance(given, int):
            given = str(given)
        found[name] = text(given, f"{param}.{name}", most=MAX_METADATA_VALUE_LENGTH, least=0)
    return found


def whole(value: Any, param: str, *, least: int = 1, most: int = 2**63 - 1) -> int:
    """A whole number in bounds; True, 1.0 and "1" are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{param} must be a whole number.", param=param)
    if not least <= value <= most:
        raise InvalidRequest(f"{param} must be between {least} and {most}.", param=param)
    return value
