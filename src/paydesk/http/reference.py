"""The reference pages that the service carries with it: the API at a glance, and every error."""

from __future__ import annotations

import inspect
from html import escape

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paydesk.errors import NotFound, PaydeskError, all_errors
from paydesk.http import openapi
from paydesk.http.fields import reply
from paydesk.http.routes import PUBLIC, cell, router

reference = router("reference")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} · Paydesk</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><p><a href="/docs">Reference</a></p><h1>{title}</h1>
{body}
</main></body></html>
"""


def _page(title: str, body: str) -> Response:
    return Response(_PAGE.format(title=escape(title), body=body), media_type="text/html")


@reference.get("/openapi.json", include_in_schema=False, **cell(PUBLIC))
async def openapi_json(request: Request) -> Response:
    return reply(openapi.document(request.app))


@reference.get("/docs", include_in_schema=False, **cell(PUBLIC))
async def api_at_a_glance(request: Request) -> Response:
    """Every address with its sentence, by tag."""
    found = openapi.document(request.app)
    by_tag: dict[str, list[str]] = {}
    for path, item in found["paths"].items():
        for method, operation in item.items():
            roles = ", ".join(operation.get("x-access", {}).get("roles", ()))
            row = (
                f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
                f"<td>{escape(operation.get('summary', ''))}</td><td>{escape(roles)}</td></tr>"
            )
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).append(row)
    head = "<thead><tr><th>Method</th><th>Address</th><th>What</th><th>Who</th></tr></thead>"
    parts = [
        f"<h2>{escape(tag)}</h2><table>{head}<tbody>{''.join(rows)}</tbody></table>"
        for tag, rows in sorted(by_tag.items())
    ]
    links = (
        '<p><a href="/openapi.json">OpenAPI document</a> · <a href="/docs/errors">Errors</a></p>'
    )
    return _page("HTTP reference", links + "".join(parts))


@reference.get("/docs/errors", include_in_schema=False, **cell(PUBLIC))
async def errors_at_a_glance(request: Request) -> Response:
    rows = [
        f'<tr><td><a href="/docs/errors/{code}"><code>{code}</code></a></td>'
        f"<td>{kind.http_status}</td><td>{escape(kind.title)}</td></tr>"
        for code, kind in all_errors().items()
    ]
    return _page("Errors", f"<table><tbody>{''.join(rows)}</tbody></table>")


@reference.get("/docs/errors/{code}", include_in_schema=False, **cell(PUBLIC))
async def error_page(request: Request, code: str) -> Response:
    """The page that a problem's `type` leads to."""
    kind = all_errors().get(code)
    if kind is None:
        raise NotFound(f"No error has the code {code[:64]!r}.")
    return _page(kind.title, _explained(kind))


@reference.get("/", include_in_schema=False, **cell(PUBLIC))
async def front_door(request: Request) -> Response:
    """To the operators' pages where they are there, else to the reference."""
    paths = {getattr(route, "path", "") for route in request.app.routes}
    home = "/dashboard" if "/dashboard" in paths else "/docs"
    return RedirectResponse(home, 307)


def _explained(kind: type[PaydeskError]) -> str:
    about = inspect.cleandoc(kind.__doc__ or "") if kind.__doc__ else ""
    legacy = f" · legacy code <code>{kind.legacy_code}</code>" if kind.legacy_code else ""
    return (
        f"<p><code>{kind.code}</code> · HTTP {kind.http_status}{legacy}</p>"
        f"<p>{escape(about)}</p>"
    )
