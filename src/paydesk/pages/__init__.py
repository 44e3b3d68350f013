"""Pages that this process renders: dashboard, checkout, portal, sandbox and reference.

`router` holds them all, with whole paths; an application whose `state.env` is the environment
takes its routes over as they are: including them would build every one of them anew.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk.errors import NotFound
from paydesk.pages import (
    checkout,
    dashboard,
    desk_catalog,
    desk_developers,
    desk_disputes,
    desk_invoices,
    desk_refunds,
    desk_reports,
    desk_risk,
    desk_subscriptions,
    desk_wallets,
    docs,
    invoice,
    look,
    mailbox,
    offline,
    portal,
    portal_plan,
    sandbox,
    session,
)
from paydesk.pages.routing import new_router

__all__ = ["router"]

router = new_router()


@router.get("/")
def front(request: Request) -> Response:
    """The sandbox's home in development, the dashboard otherwise."""
    return look.go("/dev" if session.is_development(request) else "/dashboard")


@router.get("/assets/{stamp}/{name:path}")
def static_file(stamp: str, name: str) -> Response:
    """Fonts, styles and the script; `stamp` changes with them."""
    if name not in look.static_files():
        raise NotFound("There is no such file.")
    return look.serve_asset(name)


@router.post("/theme")
def theme(
    request: Request,
    theme: Annotated[str, Form(max_length=10)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Light or dark, kept in a cookie so that pages come in the right colors."""
    session.check_origin(request)
    answer = look.go(look.local_path(next, "/"))
    if theme in ("light", "dark"):
        answer.set_cookie("paydesk_theme", theme, max_age=31_536_000, samesite="lax", path="/")
    return answer


for part in (
    checkout, invoice, offline, portal, portal_plan, sandbox, mailbox, docs, dashboard,
    desk_catalog, desk_developers, desk_disputes, desk_invoices, desk_refunds, desk_reports,
    desk_risk,
    desk_subscriptions, desk_wallets,
):  # fmt: skip
    router.routes.extend(part.router.routes)


def nothing_here(request: Request) -> Response:
    """An address below ours that leads nowhere."""
    raise NotFound("There is no such page.")


for _prefix in ("/dashboard", "/checkout", "/invoice", "/portal", "/dev"):
    router.add_api_route(f"{_prefix}/{{rest:path}}", nothing_here, methods=["GET"])
