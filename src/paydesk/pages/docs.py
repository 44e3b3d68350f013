"""/docs: the API's reference from its OpenAPI document, and a page for every error code."""

from __future__ import annotations

import inspect
import re
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from markupsafe import Markup, escape

from paydesk.errors import NotFound, PaydeskError, all_errors
from paydesk.flows.event_types import TYPES
from paydesk.pages import look
from paydesk.pages.routing import new_router

router = new_router()

#: Codes whose refusal changed nothing, so that the same request may simply be sent again.
_REPEATABLE = {408, 409, 429, 503}


@router.get("/docs")
def reference(request: Request) -> Response:
    return look.page(
        request, "docs.html", groups=_groups(request.app.openapi()), events=sorted(TYPES.items()),
        errors=list(all_errors().values()),
    )  # fmt: skip


@router.get("/docs/errors")
def errors(request: Request) -> Response:
    return look.go("/docs#errors", 307)


@router.get("/docs/errors/{code}")
def error(request: Request, code: str) -> Response:
    kind = all_errors().get(code)
    if kind is None:
        raise NotFound(f"There is no error {code[:64]!r}.")
    return look.page(
        request, "doc_error.html", error=kind, about=_with_code(about(kind)),
        repeatable=kind.http_status in _REPEATABLE,
    )  # fmt: skip


def about(kind: type[PaydeskError]) -> str:
    """The class's own words, if it has any."""
    own = kind.__doc__ if "__doc__" in vars(kind) else None
    return inspect.cleandoc(own) if own else ""


def _with_code(text: str) -> Markup:
    """`names` in backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _groups(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations by tag, in the document's order."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document.get("paths", {}).items():
        for method, operation in methods.items():
            if method not in ("get", "post", "put", "patch", "delete"):
                continue
            tag = str((operation.get("tags") or ["Other"])[0]).replace("_", " ")
            groups.setdefault(tag, []).append(_operation(document, path, method, operation))
    return [{"name": name, "operations": found} for name, found in groups.items()]


def _operation(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any]
) -> dict[str, Any]:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {
        "method": method.upper(),
        "path": path,
        "anchor": operation.get("operationId", f"{method}{path}".replace("/", "-")),
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "roles": operation.get("x-access", {}).get("roles", []),
        "parameters": [
            {"name": p["name"], "where": p["in"], "required": p.get("required", False),
             "type": type_words(document, p.get("schema", {})), "text": p.get("description", "")}
            for p in operation.get("parameters", [])
        ],
        "fields": _fields(document, body.get("schema", {})),
        "answers": [
            {"status": status, "text": answer.get("description", "")}
            for status, answer in sorted(operation.get("responses", {}).items())
        ],
    }  # fmt: skip


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    schema = _resolved(document, schema)
    required = schema.get("required", [])
    return [
        {"name": name, "type": type_words(document, part), "required": name in required,
         "text": part.get("description") or part.get("title", "")}
        for name, part in schema.get("properties", {}).items()
    ]  # fmt: skip


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if not reference:
        return schema
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def type_words(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """`string`, `integer or null`, `array of string`, `one of a, b`."""
    if "enum" in schema:
        return "one of " + ", ".join(str(v) for v in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            words = dict.fromkeys(type_words(document, part) for part in schema[union])
            return " or ".join(words)
    if "$ref" in schema:
        return type_words(document, _resolved(document, schema)) or schema["$ref"].split("/")[-1]
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"array of {type_words(document, schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if schema.get("format") else str(kind)

