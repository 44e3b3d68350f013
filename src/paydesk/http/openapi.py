"""The OpenAPI document: every route, the hot ones too, with its access cell and its problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from paydesk import __version__
from paydesk.http import hot, live, problems, webhooks
from paydesk.http.routes import PUBLIC

_REF = "#/components/schemas/{name}"
_PROBLEM = {
    "description": "A refusal",
    "content": {
        problems.PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}},
    },
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": 'The same key and body have one effect. Quoted ("order-1042") or bare.',
    "schema": {"type": "string", "minLength": 1, "maxLength": 257, "pattern": "^[!-~]+$"},
}
_STREAM = {
    "summary": "Follow events",
    "tags": ["events"],
    "x-access": live.STREAM_ACCESS,
    "description": "Server-sent events: the present balance first, then every event."
    " `Last-Event-ID` or `after` resumes. EventSource may send the token as `token`.",
    "query": ["customer", "after", "token"],
    "stream": True,
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of this application; made once."""
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(
        title="Paydesk",
        version=__version__,
        openapi_version="3.1.0",
        summary="The payment desk of an application.",
        description="Amounts are integers in minor units, with a decimal text beside them. Times"
        " are RFC 3339 in UTC. Errors are RFC 9457 problems with a stable `code`."
        " `Idempotency-Key` is kept for 24 hours with its answer; what it made, for ever.",
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = problems.SCHEMA
    _add_plain(found, schemas)
    for path, item in found["paths"].items():
        for method, operation in item.items():
            _finish(path, method, operation)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    found["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`sk_…`) of a server, or a customer's JWT.",
        }
    }
    found["security"] = [{"bearer": []}]
    found["paths"] = dict(sorted(found["paths"].items()))
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    app.openapi_schema = found
    return found


def plain_operations() -> dict[tuple[str, str], dict[str, Any]]:
    """(path, method) -> what is said of each route that FastAPI does not know."""
    return {
        **hot.OPERATIONS,
        **webhooks.OPERATIONS,
        (live.STREAM_PATH, "get"): _STREAM,
    }


def _add_plain(found: dict[str, Any], schemas: dict[str, Any]) -> None:
    operations = plain_operations()
    answers = [o["answer"] for o in operations.values() if "answer" in o]
    bodies = [o["body"] for o in operations.values() if "body" in o]
    _add_models(schemas, answers)
    _, structs = msgspec.json.schema_components(bodies, ref_template=_REF)
    schemas.update(structs)
    for (path, method), operation in operations.items():
        found["paths"].setdefault(path, {})[method] = _plain(path, operation)


def _add_models(schemas: dict[str, Any], kinds: Iterable[type[BaseModel]]) -> None:
    wanted: list[Any] = [(kind, "serialization") for kind in dict.fromkeys(kinds)]
    _, made = models_json_schema(wanted, ref_template=_REF.replace("{name}", "{model}"))
    for name, schema in made.get("$defs", {}).items():
        assert schemas.setdefault(name, schema) == schema, f"two shapes are called {name}"


def _plain(path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    known = ("summary", "tags", "description", "x-access", "security")
    operation = {name: given[name] for name in known if name in given}
    operation["operationId"] = path.strip("/").translate(str.maketrans("/-{}", "____"))
    parameters = [_parameter(name) for name in given.get("query", ())]
    if "{" in path:
        name = path.partition("{")[2].partition("}")[0]
        parameters.append(
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        )
    if parameters:
        operation["parameters"] = parameters
    if "body" in given:
        ref = {"$ref": _REF.format(name=given["body"].__name__)}
        operation["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": ref}},
        }  # fmt: skip
    elif given.get("signed"):
        operation["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": {"type": "object"}}},
        }  # fmt: skip
    if given.get("stream"):
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        ref = {"$ref": _REF.format(name=given["answer"].__name__)}
        content = {"application/json": {"schema": ref}}
    operation["responses"] = {"200": {"description": "Done", "content": content}}
    return operation


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "maxLength": 255}
    if name == "expand":
        schema = {"type": "array", "items": {"type": "string", "enum": ["batches"]}, "maxItems": 1}
    elif name == "after":
        schema = {"type": "integer", "minimum": 0}
    elif name == "token":
        schema = {"type": "string"}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _finish(path: str, method: str, operation: dict[str, Any]) -> None:
    """What all operations have in common: problems, and the key on what changes something."""
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _PROBLEM
    is_public = PUBLIC in operation.get("x-access", {}).get("roles", ())
    if method == "post" and not is_public:
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
