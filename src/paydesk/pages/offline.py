"""The page of instructions: what to pay by cash, transfer or agent, and with which reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotFound, PaydeskError
from paydesk.flows import checkout, offline
from paydesk.pages import look, session
from paydesk.pages.routing import new_router

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.checkout import CheckoutView

router = new_router()


def _view(env: Env, ident: str, secret: str) -> CheckoutView:
    """An order that is paid offline. Raises NotFound."""
    view = checkout.by_secret(env, ident, secret)
    if "offline" not in env.providers[view.payment.provider].can:
        raise NotFound("There is no such page.")
    return view


@router.get("/checkout/{ident}/instructions")
def instructions(request: Request, ident: str, s: str = "", told: str = "") -> Response:
    """Until the money is here; after it the outcome."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    base = f"/checkout/{ids.show('checkout', view.id)}"
    if view.payment.state not in ("pending", "processing"):
        return look.go(f"{base}/success?s={s}")
    return _page(request, view, s, told="The reference was noted." if told else "")


def _page(request: Request, view: CheckoutView, secret: str, *, problem: str = "", told: str = ""
          ) -> Response:  # fmt: skip
    env: Env = request.app.state.env
    known = env.providers[view.payment.provider]
    text = getattr(known, "instructions", str)()
    return look.page(
        request, "instructions.html", status=422 if problem else 200, view=view, text=text,
        secret=secret, reference=view.payment.session_ref, problem=problem, told=told,
        base=f"/checkout/{ids.show('checkout', view.id)}", given=view.payment.payment_ref,
    )  # fmt: skip


@router.post("/checkout/{ident}/reference")
def tell_reference(
    request: Request,
    ident: str,
    s: Annotated[str, Form(max_length=100)] = "",
    reference: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """The payer's word under which number an agent or a bank has the money."""
    session.check_origin(request)
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    try:
        offline.submit_reference(env, view.customer_id, view.payment.id, reference)
    except PaydeskError as exc:
        return _page(request, view, s, problem=exc.detail)
    return look.go(f"/checkout/{ids.show('checkout', view.id)}/instructions?s={s}&told=1")
