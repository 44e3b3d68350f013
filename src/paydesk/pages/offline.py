"""The page of instructions: what to pay by cash, transfer or agent, and with which reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import Conflict, NotFound, PaydeskError
from paydesk.flows import checkout, customers, offline
from paydesk.pages import look, reader, session
from paydesk.pages.portal_words import Tongue, locale_of
from paydesk.pages.routing import new_router
from paydesk.settings import Settings

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.checkout import CheckoutView

router = new_router()

#: What the setting says where nobody wrote anything: said in the payer's language instead.
_DEFAULT = Settings.manual_instructions


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
    if view.payment.state not in ("pending", "processing"):
        asked = request.query_params.get("locale")
        return look.go(_address(view, "success", s=s, locale=asked))
    return _page(request, view, s, told="by_hand_noted" if told else "")


def _address(view: CheckoutView, page: str, **query: str | None) -> str:
    told = urlencode({name: value for name, value in query.items() if value})
    return f"/checkout/{ids.show('checkout', view.id)}/{page}?{told}"


def _page(request: Request, view: CheckoutView, secret: str, *, problem: str = "", told: str = "",
          locale: str | None = None) -> Response:  # fmt: skip
    """`problem`, `told`: keys of sentences. `locale`: what the address asked for before."""
    env: Env = request.app.state.env
    asked = locale_of(locale or request.query_params.get("locale"), "")
    t = reader.tongue_asked(request, customers.get(env, view.customer_id), asked)
    return look.page(
        request, "instructions.html", status=422 if problem else 200, view=view, asked=asked,
        text=_how(env, t, view), secret=secret, reference=view.payment.session_ref,
        problem=t(problem) if problem else "", told=t(told) if told else "",
        base=f"/checkout/{ids.show('checkout', view.id)}", given=view.payment.payment_ref,
        t=t, lang=t.locale,
    )  # fmt: skip


def _how(env: Env, t: Tongue, view: CheckoutView) -> str:
    """Where to pay: in the payer's language, unless the business wrote its own words."""
    known = env.providers[view.payment.provider]
    text = getattr(known, "instructions", str)()
    if known.name == "natcash":
        return t("by_hand_natcash", number=env.settings.natcash_number)
    return t("by_hand_way") if text == _DEFAULT else text


@router.post("/checkout/{ident}/reference")
def tell_reference(
    request: Request,
    ident: str,
    s: Annotated[str, Form(max_length=100)] = "",
    reference: Annotated[str, Form(max_length=100)] = "",
    locale: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """The payer's word under which number an agent or a bank has the money."""
    session.check_origin(request)
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    try:
        offline.submit_reference(env, view.customer_id, view.payment.id, reference)
    except PaydeskError as exc:
        problem = "by_hand_again" if isinstance(exc, Conflict) else "by_hand_wrong"
        return _page(request, view, s, problem=problem, locale=locale)
    return look.go(_address(view, "instructions", s=s, told="1", locale=locale))
