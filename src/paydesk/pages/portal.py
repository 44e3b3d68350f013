"""The customer's own page: balance, batches and history. Entered by a link with a signed token."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from paydesk.flows import customers, reports
from paydesk.pages import look, session
from paydesk.pages.dashboard import credit_facts
from paydesk.pages.routing import new_router

router = new_router()


@router.get("/portal/enter")
def enter(request: Request, token: str = "") -> Response:
    answer = look.go("/portal")
    session.enter_portal(request.app.state.env, answer, token)
    return answer


@router.get("/portal")
def portal(request: Request) -> Response:
    env = request.app.state.env
    customer = customers.ensure(env, session.portal_customer(request), create=False)
    paid, _ = reports.payments_page(env, customer_id=customer.uuid, limit=10)
    return look.page(
        request, "portal.html", c=customer, payments=paid,
        **credit_facts(env, customer.uuid, limit=30),
    )  # fmt: skip
