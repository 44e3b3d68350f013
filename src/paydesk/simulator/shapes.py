"""Shapes of Stripe's requests and objects, read from the table of its OpenAPI description."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any


class ShapeMismatch(AssertionError):
    """An object is not as Stripe's description has it; `problems` names each place."""

    def __init__(self, name: str, problems: list[str]) -> None:
        super().__init__(f"{name}: " + "; ".join(problems[:20]))
        self.problems = problems


@functools.cache
def table() -> dict[str, Any]:
    """The whole table: version, operations, objects (see tools/reduce_stripe_openapi.py)."""
    packed = resources.files("paydesk.simulator").joinpath("data/stripe_shapes.json.gz")
    return json.loads(gzip.decompress(packed.read_bytes()))


def version() -> str:
    """The API version the shapes are of."""
    return table()["version"]


def resolve(node: Any) -> Any:
    """Follow references and the "or null" wrapper to the node that says something."""
    while isinstance(node, dict):
        if "r" in node:
            node = table()["objects"][node["r"]]
        elif "z" in node:
            node = node["z"]
        else:
            break
    return node


def request_shape(operation: str) -> Any:
    """The parameters of an operation such as `POST /v1/customers`."""
    return table()["operations"][operation]["in"]


@functools.cache
def blank_fields(name: str) -> tuple[str, ...]:
    properties = resolve({"r": name})["p"]
    return tuple(key for key, node in properties.items() if isinstance(node, dict) and "z" in node)


def blank(name: str) -> dict[str, Any]:
    """Every field of an object that may be null, as null: a start for a new object."""
    return dict.fromkeys(blank_fields(name))


def sample(name: str) -> dict[str, Any]:
    """An object of this name with what it must have and nothing more, made up."""
    return _made({"r": name}, name)


def _made(node: Any, name: str) -> Any:
    if isinstance(node, str):
        return {"s": "", "i": 0, "b": False, "n": 0}.get(node[0])
    if "z" in node:
        return None
    if "r" in node:
        return _made(table()["objects"][node["r"]], node["r"])
    if "e" in node:
        return name if name in node["e"] else node["e"][0]
    if "u" in node:
        return _made(node["u"][0], name)
    if "x" in node:
        return f"{node['x'][0].rpartition('.')[2]}_sample"
    if "l" in node:
        return []
    if "m" in node:
        return {}
    wanted = {*node.get("q", ()), *(k for k, v in node["p"].items() if isinstance(v, dict)
                                   and "z" in v)}  # fmt: skip
    return {key: _made(one, name) for key, one in node["p"].items() if key in wanted}


def property_node(name: str, field: str) -> Any:
    """The node of one field of a named object, or None where it has no such field."""
    node = resolve({"r": name}) if name in table()["objects"] else None
    return node.get("p", {}).get(field) if isinstance(node, dict) else None


def validate(name: str, value: Any) -> None:
    """Check an object of the given name; raises ShapeMismatch with every difference."""
    problems = list(_check({"r": name}, value, name))
    if problems:
        raise ShapeMismatch(name, problems)


def validate_answer(operation: str, status: int, value: Any) -> None:
    """Check the body of an answer to an operation, errors included."""
    if status >= 400:
        validate("error", value)
        return
    problems = list(_check(table()["operations"][operation]["out"], value, ""))
    if problems:
        raise ShapeMismatch(operation, problems)


def _check(node: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(node, str):
        yield from _check_scalar(node, value, path)
    elif "z" in node:
        if value is not None:
            yield from _check(node["z"], value, path)
    elif "r" in node:
        yield from _check(table()["objects"][node["r"]], value, path)
    elif "e" in node:
        if value not in node["e"]:
            yield f"{path}: {value!r} is not one of {node['e'][:8]}"
    elif "u" in node:
        yield from _check_union(node["u"], value, path)
    elif "x" in node:
        yield from _check_expandable(node["x"], value, path)
    elif "l" in node:
        if not isinstance(value, list):
            yield f"{path}: not a list"
            return
        for place, item in enumerate(value):
            yield from _check(node["l"], item, f"{path}[{place}]")
    elif not isinstance(value, dict):
        yield f"{path}: not an object"
    elif "m" in node:
        for key, item in value.items():
            yield from _check(node["m"], item, f"{path}.{key}")
    else:
        yield from _check_object(node, value, path)


def _check_scalar(node: str, value: Any, path: str) -> Iterator[str]:
    kind, limit = node[0], node[1:]
    right = {
        "s": isinstance(value, str),
        "i": isinstance(value, int) and not isinstance(value, bool),
        "b": isinstance(value, bool),
        "n": isinstance(value, int | float) and not isinstance(value, bool),
        "a": True,
    }[kind]
    if not right:
        yield f"{path}: {value!r} is not of type {kind}"
    elif limit and len(str(value)) > int(limit):
        yield f"{path}: longer than {limit}"


def _check_object(node: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    properties = node["p"]
    for name in node.get("q", ()):
        if name not in value:
            yield f"{path}.{name}: missing"
    for name, item in value.items():
        if name in properties:
            yield from _check(properties[name], item, f"{path}.{name}")
        else:
            yield f"{path}.{name}: not in the description"


def _check_union(choices: list[Any], value: Any, path: str) -> Iterator[str]:
    best: list[str] | None = None
    for choice in choices:
        problems = list(_check(choice, value, path))
        if not problems:
            return
        if best is None or len(problems) < len(best):
            best = problems
    yield from best or ()


def _check_expandable(names: list[str], value: Any, path: str) -> Iterator[str]:
    if isinstance(value, str):
        return
    if not isinstance(value, dict):
        yield f"{path}: neither an id nor an object"
        return
    name = ("deleted_" if value.get("deleted") else "") + str(value.get("object"))
    if name not in names:
        yield f"{path}: a {name} does not belong here"
        return
    yield from _check({"r": name}, value, path)
