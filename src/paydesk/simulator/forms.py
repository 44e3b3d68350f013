"""Form-encoded requests: nested brackets are parsed, then cast and refused from the table."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from . import errors, shapes
from .errors import StripeError

MAX_FIELDS = 2000
MAX_DEPTH = 8
_PART = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,12})?\Z")
#: Text parameters that an empty value cannot unset.
NEVER_EMPTY = frozenset(
    "customer payment_method price currency charge payment_intent success_url return_url url "
    "intent starting_after ending_before query mode token number product".split()
)


def parse(text: bytes) -> dict[str, Any]:
    """`a[b][0]=c` as {"a": {"b": {"0": "c"}}}; lists become lists when cast."""
    try:
        pairs = parse_qsl(
            text.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except (UnicodeDecodeError, ValueError) as exc:
        raise StripeError("The request's form could not be read as UTF-8 fields.") from exc
    nested: dict[str, Any] = {}
    for key, value in pairs:
        if "\x00" in key or "\x00" in value:
            raise StripeError("Invalid string: a NUL byte is not allowed.", param=key[:100])
        _put(nested, key, value)
    return nested


def _put(nested: dict[str, Any], key: str, value: str) -> None:
    name, bracket, _ = key.partition("[")
    rest = key[len(name) :]
    parts = _PART.findall(rest)
    if not name or "]" in name or (bracket and "".join(f"[{part}]" for part in parts) != rest):
        raise StripeError(f"Invalid parameter name: {key[:100]}", param=key[:100])
    if len(parts) > MAX_DEPTH:
        raise StripeError("The request's form is nested too deeply.", param=name)
    place, last = nested, name
    for index, part in enumerate(parts):
        place = place.setdefault(last, {})
        if not isinstance(place, dict):
            raise StripeError(f"Invalid object: {name} is given twice.", param=name)
        last = part or _next_index(place, parts[index + 1 :])
    if isinstance(place.get(last), dict):
        raise StripeError(f"Invalid string: {name} is given twice.", param=name)
    place[last] = value


def _next_index(place: dict[str, Any], following: list[str]) -> str:
    """Where `a[]` goes: a new entry, or the last one while it has no such field yet."""
    last = str(len(place) - 1)
    if following and place and following[0] not in place.get(last, {}):
        return last
    return str(len(place))


def cast(operation: str, nested: dict[str, Any]) -> dict[str, Any]:
    """The parameters of an operation in their types; raises what Stripe answers otherwise."""
    return _object(shapes.resolve(shapes.request_shape(operation)), nested, "")


def _object(node: dict[str, Any], value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StripeError("Invalid object", param=path)
    properties = node["p"]
    unknown = [_join(path, name) for name in value if name not in properties]
    if unknown:
        raise errors.unknown_params(unknown)
    required = node.get("q", ())
    for name in required:
        if name not in value:
            raise errors.missing_param(_join(path, name))
        if value[name] == "":
            raise errors.empty_param(_join(path, name))
    return {name: _cast(properties[name], item, _join(path, name)) for name, item in value.items()}


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name


def _cast(node: Any, value: Any, path: str) -> Any:
    node = shapes.resolve(node)
    if isinstance(node, str):
        return _scalar(node, value, path)
    if "u" in node:
        return _union(node["u"], value, path)
    if "e" in node:
        return _choice(node["e"], value, path)
    if "l" in node:
        items = enumerate(_items(value, path))
        return [_cast(node["l"], item, f"{path}[{index}]") for index, item in items]
    if "m" in node:
        if not isinstance(value, dict):
            raise StripeError("Invalid object", param=path)
        return {name: _cast(node["m"], item, _join(path, name)) for name, item in value.items()}
    return _object(node, value, path)


def _items(value: Any, path: str) -> list[Any]:
    if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
        raise StripeError("Invalid array", param=path)
    return [value[key] for key in sorted(value, key=int)]


def _union(choices: list[Any], value: Any, path: str) -> Any:
    """The first choice that takes the value; the error is that of the likeliest one."""
    nodes = [shapes.resolve(choice) for choice in choices]
    if isinstance(value, dict):
        fitting = [n for n in nodes if isinstance(n, dict) and not ({"e"} & n.keys())]
    elif value == "":
        if any(isinstance(n, dict) and "" in n.get("e", ()) for n in nodes):
            return ""
        raise errors.empty_param(path)
    else:
        nodes = [n for n in nodes if n != {"e": [""]}]
        fitting = [n for n in nodes if isinstance(n, str) or "e" in n]
        fitting.sort(key=lambda n: (n if isinstance(n, str) else "e")[0] == "s")
    refused: StripeError | None = None
    for node in fitting or nodes:
        try:
            return _cast(node, value, path)
        except StripeError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _choice(allowed: list[str], value: Any, path: str) -> str:
    if isinstance(value, dict):
        raise StripeError("Invalid string", param=path)
    if value in allowed:
        return value
    if value == "":
        raise errors.empty_param(path)
    names = [name for name in allowed if name]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, or {names[-1]}"
    raise StripeError(f"Invalid {path}: must be one of {listed}", param=path)


def _scalar(node: str, value: Any, path: str) -> Any:
    if isinstance(value, dict):
        raise StripeError("Invalid string" if node[0] == "s" else "Invalid value", param=path)
    kind = node[0]
    if kind == "s":
        return _string(node[1:], value, path)
    if value == "":
        raise errors.empty_param(path)
    if kind == "i":
        if not _INTEGER.match(value):
            raise StripeError(
                f"Invalid integer: {value[:60]}", code="parameter_invalid_integer", param=path
            )
        return int(value)
    if kind == "b":
        if value not in ("true", "false"):
            raise StripeError(f"Invalid boolean: {value[:60]}", param=path)
        return value == "true"
    if kind == "n":
        if not _NUMBER.match(value):
            raise StripeError(f"Invalid decimal: {value[:60]}", param=path)
        return float(value)
    return value


def _string(limit: str, value: str, path: str) -> str:
    if value == "" and path.rsplit("[", 1)[-1].rstrip("]") in NEVER_EMPTY:
        raise errors.empty_param(path)
    if limit and len(value) > int(limit):
        raise StripeError(
            f"Invalid string: it must be at most {limit} characters long", param=path
        )
    return value
