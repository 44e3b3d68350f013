"""Request bodies: JSON read strictly, so that a text has one meaning and carries no card number."""

from __future__ import annotations

import json
import re
from email.message import Message
from typing import Any, NoReturn

from paydesk.errors import CardNumberRefused, InvalidRequest, MalformedRequest, UnsupportedMediaType

#: How many objects and arrays may stand inside each other.
MAX_DEPTH = 32
#: The longest number literal that is read at all.
MAX_NUMBER_LENGTH = 64
#: The longest text in any field; single fields set less.
MAX_TEXT_LENGTH = 8192

_DIGIT_RUN = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}")
#: Fields that name things: a number there may happen to look like a card's.
_ID_FIELD = re.compile(r"(?:^|_)ids?$|Ids?$|_key$|^(?:customer|customers|spend|key|from|to|jti)$")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class JsonNumber:
    """A JSON number with a point or an exponent, kept as its own digits and never as a float."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def read(raw: bytes, content_type: str | None) -> Any:
    """The value of a JSON body.

    Raises UnsupportedMediaType for another kind of body, MalformedRequest for what is no JSON in
    UTF-8, names a member twice, is nested too deep or holds NaN, InvalidRequest for texts that
    cannot be stored, CardNumberRefused for digits that look like a card's.
    """
    _check_media_type(content_type)
    value = parse(raw)
    check_texts(value)
    return value


def parse(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8; numbers that are not plain integers become JsonNumber."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MalformedRequest(f"The body is not UTF-8: byte {exc.start} is wrong.") from None
    try:
        return _decode(text)
    except json.JSONDecodeError as exc:
        raise MalformedRequest(
            f"The body is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}."
        ) from None
    except RecursionError:
        raise MalformedRequest("The body is nested too deep.") from None


def check_texts(value: Any) -> None:
    """Refuse what no text may hold, wherever it stands in the value; see `read`."""
    todo: list[tuple[Any, tuple[Any, ...], bool]] = [(value, (), False)]
    while todo:
        one, path, is_id = todo.pop()
        if len(path) > MAX_DEPTH:
            raise MalformedRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(one, str):
            check_text(one, path, is_id=is_id)
        elif isinstance(one, dict):
            in_metadata = "metadata" in path
            for name, inner in one.items():
                check_text(name, path)
                named = not in_metadata and _ID_FIELD.search(name) is not None
                todo.append((inner, (*path, name), named))
        elif isinstance(one, list):
            todo.extend((inner, (*path, i), is_id) for i, inner in enumerate(one))


def check_text(text: str, path: tuple[Any, ...] = (), *, is_id: bool = False) -> None:
    """One text: no NUL, no lone surrogate, not too long, no card number (ids may be any digits)."""
    if len(text) > MAX_TEXT_LENGTH:
        _refuse(path, f"The text is longer than {MAX_TEXT_LENGTH} characters.")
    if "\x00" in text:
        _refuse(path, "The text holds a NUL character.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse(path, "The text holds half of a surrogate pair.")
    if len(text) >= 13 and not is_id and looks_like_card(text):
        detail = "The text holds digits that look like a card number."
        raise CardNumberRefused(detail, errors=[{"pointer": pointer(path), "detail": detail}])


def looks_like_card(text: str) -> bool:
    """Whether 13 to 19 digits, alone or in groups, pass the Luhn check. A uuid never does."""
    if _UUID.fullmatch(text):
        return False
    for found in _DIGIT_RUN.finditer(text):
        groups = re.split(r"[ -]", found.group())
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > 19:
                    break
                if len(digits) >= 13 and _may_be_issued(digits) and _passes_luhn(digits):
                    return True
    return False


def _may_be_issued(digits: str) -> bool:
    """No issuer's numbers begin with 0 or 1, save UATP's 15 digits: so times in milliseconds, and
    the handles that are made of them, are no cards."""
    return digits[0] not in "01" or (digits[0] == "1" and len(digits) == 15)


def pointer(path: tuple[Any, ...]) -> str:
    """A JSON pointer (RFC 6901) from member names and indexes."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


def canonical(value: Any) -> bytes:
    """One byte form for equal JSON values, whatever their spacing and order of members."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_number_text
    ).encode()


def _number_text(value: Any) -> Any:
    if isinstance(value, JsonNumber):
        return {"$number": value.text}
    raise TypeError(f"{type(value).__name__} does not come from JSON")


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _refuse(path: tuple[Any, ...], detail: str) -> NoReturn:
    raise InvalidRequest(detail, errors=[{"pointer": pointer(path), "detail": detail}])


def _check_media_type(content_type: str | None) -> None:
    if content_type == "application/json":
        return
    message = Message()
    message["content-type"] = content_type or ""
    subtype = message.get_content_subtype()
    is_json = message.get_content_maintype() == "application" and (
        subtype == "json" or subtype.endswith("+json")
    )
    charset = str(message.get_param("charset", "utf-8")).lower()
    if not content_type or not is_json or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send the body as application/json in UTF-8.")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise MalformedRequest(f"The member {name[:64]!r} stands twice in one object.")
            seen.add(name)
    return found


def _number(text: str) -> JsonNumber:
    if len(text) > MAX_NUMBER_LENGTH:
        raise MalformedRequest(f"A number has more than {MAX_NUMBER_LENGTH} characters.")
    return JsonNumber(text)


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_LENGTH:
        raise MalformedRequest(f"A number has more than {MAX_NUMBER_LENGTH} characters.")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise MalformedRequest(f"{text} is no JSON number.")


_decode = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_number,
    parse_int=_integer,
    parse_constant=_constant,
).decode
