"""The customer's pages: the order before paying, and what became of it after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotFound, PaydeskError
from paydesk.flows import checkout, credits
from paydesk.pages import look
from paydesk.pages.routing import new_router

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.checkout import CheckoutView

router = new_router()

#: Payment state -> what the customer is told when it is not paid.
_ENDS = {
    "failed": ("bad", "circle-x", "Payment failed",
               "The card was declined and nothing was charged. You can try again."),
    "expired": ("", "clock", "This checkout has expired",
                "Nothing was charged. Start again where you came from."),
    "canceled": ("", "circle-x", "This checkout was canceled", "Nothing was charged."),
}  # fmt: skip
_PENDING = ("info", "loader", "Confirming your payment",
            "This takes a moment. The page goes on by itself.")  # fmt: skip
_SLOW = ("info", "hourglass", "Your payment is on its way",
         "The provider has not confirmed it yet. You need not wait: it is added when it arrives.")


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the order. `minor` is its price before any discount."""

    name: str
    about: str
    minor: int
    icon: str = "coins"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPage:
    """What the page before paying shows."""

    items: list[Item]
    currency: str
    subtotal_minor: int
    discount_minor: int
    total_minor: int
    promo: str | None
    bonus: str
    email: str | None
    pay_url: str
    provider_name: str
    cancel_url: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomePage:
    """What the page after paying shows."""

    tone: str
    icon: str
    title: str
    text: str
    items: list[Item]
    currency: str
    total_minor: int
    payment_id: str
    is_paid: bool
    is_pending: bool
    credits: int
    has_credits: bool
    balance: int
    continue_url: str | None
    continue_word: str
    again_url: str


@router.get("/checkout/{ident}")
def order(request: Request, ident: str, s: str = "") -> Response:
    """The order; once it is paid or over, what became of it."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    if view.payment.state not in ("pending", "requires_action") or not view.url:
        return _outcome(request, view, s)
    payment = view.payment
    page = OrderPage(
        items=_items(view),
        currency=payment.currency,
        subtotal_minor=payment.price.minor,
        discount_minor=payment.discount.minor,
        total_minor=payment.amount.minor,
        promo=next((line["promo"] for line in view.lines if line.get("promo")), None),
        bonus=_bonus(view),
        email=view.email,
        pay_url=view.url,
        provider_name=payment.provider.capitalize(),
        cancel_url=_http(view.cancel_url),
        expires_at=view.expires_at,
    )
    return look.page(request, "checkout.html", view=page)


@router.get("/checkout/{ident}/success")
def success(request: Request, ident: str, s: str = "") -> Response:
    """Where the provider sends the customer back to. It asks where no webhook came."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    if view.payment.state in ("pending", "processing", "requires_action"):
        view = _verified(env, view)
    return _outcome(request, view, s)


def _view(env: Env, ident: str, secret: str) -> CheckoutView:
    """Raises NotFound in words for customers, who know no ids."""
    try:
        return checkout.by_secret(env, ident, secret)
    except NotFound:
        raise NotFound("This link leads to no order. Open the page from where you came.") from None


def _verified(env: Env, view: CheckoutView) -> CheckoutView:
    """Ask the provider, when the settings allow and not more often than they say."""
    settings = env.settings
    if not (settings.recovery_enabled and settings.recovery_auto_verify_on_success_page):
        return view
    if not checkout.count_verification(
        env, view.customer_id, view.id, settings.recovery_max_verification_attempts
    ):
        return view
    try:
        return checkout.verify(env, ids.show("checkout", view.id), path="success_page")
    except PaydeskError:
        # The customer need not know: a webhook or a sweep brings the answer.
        return view


def _outcome(request: Request, view: CheckoutView, secret: str) -> Response:
    env: Env = request.app.state.env
    payment = view.payment
    shown = ids.show("checkout", view.id)
    base = f"/checkout/{shown}"
    is_pending = payment.state in ("pending", "processing", "requires_action", "authorized")
    if payment.paid:
        tone, icon, title = "ok", "check", "Payment received"
        text = "Thank you. Keep the payment number below for your records."
    elif is_pending:
        tone, icon, title, text = _PENDING if _is_fresh(env, view) else _SLOW
    else:
        tone, icon, title, text = _ENDS.get(payment.state, _ENDS["canceled"])
    balance = 0
    if payment.paid and payment.credits:
        with env.db.read() as tx:
            balance = credits.balance_total(tx, view.customer_id, env.now())
    goes_on, word = _continue(view, shown, env.settings.stripe_return_url)
    page = OutcomePage(
        tone=tone,
        icon=icon,
        title=title,
        text=text,
        items=_items(view),
        currency=payment.currency,
        total_minor=payment.captured.minor if payment.paid else payment.amount.minor,
        payment_id=ids.show("payment", payment.id),
        is_paid=payment.paid,
        is_pending=is_pending,
        credits=payment.credits,
        has_credits=payment.credits_added,
        balance=balance,
        continue_url=goes_on,
        continue_word=word,
        again_url=f"{base}/success?s={quote(secret)}",
    )
    return look.page(request, "outcome.html", view=page)


def _is_fresh(env: Env, view: CheckoutView) -> bool:
    """For the first minutes the page says that it is being confirmed, then that it takes longer."""
    return (env.now() - view.payment.updated_at).total_seconds() < 180


def _continue(view: CheckoutView, shown: str, return_url: str) -> tuple[str | None, str]:
    """Where the button leads, by what happened; `return_url` where the checkout says nothing."""
    state = view.payment.state
    if state == "failed" and view.url:
        return view.url, "Try again"
    if view.payment.paid or state in ("processing", "authorized"):
        address = _http(view.success_url) or _http(return_url)
        return (_filled(address, shown) if address else None), "Continue"
    address = _http(view.cancel_url)
    return (_filled(address, shown) if address else None), "Go back"


def _filled(address: str, checkout_id: str) -> str:
    """Stripe's placeholder in an application's address becomes our id."""
    return address.replace("{CHECKOUT_SESSION_ID}", checkout_id)


def _http(address: str | None) -> str | None:
    return address if address and address.startswith(("https://", "http://")) else None


def _items(view: CheckoutView) -> list[Item]:
    """What is bought, from the lines that were written when the checkout was opened."""
    items = []
    for line in view.lines:
        credits_ = line.get("credits") or 0
        words = f"{look.count(credits_)} credits · valid for {_lasts(line)}" if credits_ else ""
        if (count := line.get("quantity") or 1) > 1:
            words = f"{look.count(count)} pieces"
        price = (line.get("amount_minor") or 0) + (line.get("discount_minor") or 0)
        icon = "coins" if credits_ else "receipt"
        items.append(Item(line.get("description") or "Payment", words, price, icon))
    return items


def _bonus(view: CheckoutView) -> str:
    number = sum(line.get("bonus_credits") or 0 for line in view.lines)
    return f"+{look.count(number)} credits" if number else ""


def _lasts(line: dict[str, Any]) -> str:
    days = line.get("expires_days")
    if not days:
        return "ever"
    return "12 months" if days in (365, 366) else f"{days} days"
