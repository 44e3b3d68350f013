"""The OpenAPI document as the service gives it out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from paydesk.http import openapi
from paydesk.http.fields import reply
from paydesk.http.routes import PUBLIC, cell, router

reference = router("reference")


@reference.get("/openapi.json", include_in_schema=False, **cell(PUBLIC))
async def openapi_json(request: Request) -> Response:
    return reply(openapi.document(request.app))
