"""v1: receipts of payments, as PDF."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk.flows import notifications
from paydesk.http import owners
from paydesk.http.auth import STAFF
from paydesk.http.routes import cell, env_of, router, who_of

receipts_v1 = router("payments")


@receipts_v1.get(
    "/v1/payments/{payment}/receipt.pdf", response_model=None, summary="Get a receipt",
    responses={200: {"content": {"application/pdf": {"schema": {"type": "string",
                                                                "format": "binary"}}}}},
    **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def receipt_pdf(
    request: Request,
    payment: str,
    locale: Annotated[Literal["en", "fr", "ht"] | None, Query()] = None,
) -> Response:
    """One page. Without `locale` in the customer's language. 404 while nothing is paid."""
    env = env_of(request)
    name, pdf = notifications.receipt_pdf(
        env, owners.only_own(env, who_of(request)), payment, locale
    )
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store"}
    return Response(pdf, media_type="application/pdf", headers=headers)
