"""The customer's pages: the order before paying, and what became of it after."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotFound, PaydeskError
from paydesk.flows import checkout, credits, customers, invoice_books, returns
from paydesk.pages import look, reader
from paydesk.pages.portal_words import Tongue
from paydesk.pages.routing import new_router
from paydesk.rules.payments import OPEN_STATES

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.checkout import CheckoutView
    from paydesk.flows.payments import PaymentView

router = new_router()

#: The orders that a browser opened last, each with its secret: a provider's common return page
#: leads back to them alone.
COOKIE, COOKIE_S, REMEMBERED = "paydesk_checkout", 86_400, 5
_WORD = re.compile(r"cs_[0-9A-Za-z]{26}\.[\w-]{1,64}", re.ASCII)

#: What is told of an order -> tone and icon; its words are `co_…_title` and `co_…_text`.
_TOLD = {
    "paid": ("ok", "check"), "failed": ("bad", "circle-x"), "expired": ("", "clock"),
    "canceled": ("", "circle-x"), "pending": ("info", "loader"),
    # By what the provider said last and what the payer can do about it.
    "declined": ("warn", "triangle-alert"), "action": ("warn", "triangle-alert"),
    "slow": ("info", "hourglass"),
}  # fmt: skip
_ENDS = frozenset({"failed", "expired", "canceled"})


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
    means: tuple[str, str]
    sandbox: str
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
    payment_id: str | None
    is_paid: bool
    is_pending: bool
    credits: int
    has_credits: bool
    balance: int
    continue_url: str | None
    continue_word: str
    again_url: str


@router.get("/checkout/return/{provider}")
def returned(request: Request, provider: str) -> Response:
    """Where a provider that knows one return page for everybody sends its payers back to.

    Whose browser holds no order's secret sees the same page whatever the address says.
    """
    env: Env = request.app.state.env
    if provider not in env.providers:
        raise NotFound("There is no such page.")
    known = env.providers[provider]
    view = returns.find(
        known, dict(request.query_params), _remembered(env, request), partial(_asked, env)
    )
    if view is None:
        return _nobodys(request, known.title)
    return look.go(_home(view))


@router.get("/checkout/{ident}/pay")
def pay(request: Request, ident: str, s: str = "", token: str = "") -> Response:
    """On the way to a provider that will bring nothing of ours back: the browser keeps it."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    page = env.providers[view.payment.provider].page_of(token)
    if page is None:
        raise NotFound("There is no such page.")
    is_open = view.payment.state in ("pending", "requires_action")
    answer = look.go(page if is_open else _home(view))
    _remember(request, answer, view)
    return answer


@router.get("/checkout/{ident}")
def order(request: Request, ident: str, s: str = "") -> Response:
    """The order; once it is paid or over, what became of it."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    if view.payment.state not in ("pending", "requires_action") or not view.url:
        return _outcome(request, view)
    payment = view.payment
    provider = env.providers[payment.provider]
    t = _tongue(request, view)
    page = OrderPage(
        items=_items(t, view),
        currency=payment.currency,
        subtotal_minor=payment.price.minor,
        discount_minor=payment.discount.minor,
        total_minor=payment.amount.minor,
        promo=next((line["promo"] for line in view.lines if line.get("promo")), None),
        bonus=_bonus(t, view),
        email=view.email,
        pay_url=view.url,
        provider_name=provider.title,
        means=_means(t, provider.means),
        sandbox=_sandbox(t, payment.livemode, provider.name),
        cancel_url=_http(view.cancel_url),
        expires_at=view.expires_at,
    )
    answer = look.page(request, "checkout.html", view=page, t=t, lang=t.locale)
    _remember(request, answer, view)
    return answer


@router.get("/checkout/{ident}/success")
def success(request: Request, ident: str, s: str = "") -> Response:
    """Where the provider sends the customer back to. It asks where no webhook came."""
    env: Env = request.app.state.env
    view = _view(env, ident, s)
    return _outcome(request, _asked(env, view))


def _view(env: Env, ident: str, secret: str) -> CheckoutView:
    """Raises NotFound in words for customers, who know no ids."""
    try:
        return checkout.by_secret(env, ident, secret)
    except NotFound:
        raise NotFound("This link leads to no order. Open the page from where you came.") from None


def _remembered(env: Env, request: Request) -> list[CheckoutView]:
    """The orders that this browser opened, the last one first, where it holds their secrets."""
    found = []
    for word in request.cookies.get(COOKIE, "").split("~")[:REMEMBERED]:
        ident, _, secret = word.partition(".")
        with contextlib.suppress(NotFound):
            found.append(checkout.by_secret(env, ident, secret))
    return found


def _remember(request: Request, answer: Response, view: CheckoutView) -> None:
    env: Env = request.app.state.env
    word = f"{ids.show('checkout', view.id)}.{view.secret}"
    others = [one for one in request.cookies.get(COOKIE, "").split("~") if _WORD.fullmatch(one)]
    words = [word, *(one for one in others if one != word)][:REMEMBERED]
    answer.set_cookie(
        COOKIE, "~".join(words), max_age=COOKIE_S, path="/checkout",
        httponly=True, samesite="lax", secure=env.settings.base_url.startswith("https://"),
    )  # fmt: skip


def _tongue(request: Request, view: CheckoutView) -> Tongue:
    env: Env = request.app.state.env
    return reader.tongue_asked(request, customers.get(env, view.customer_id))


def _home(view: CheckoutView) -> str:
    return f"/checkout/{ids.show('checkout', view.id)}/success?s={quote(view.secret)}"


def _asked(env: Env, view: CheckoutView) -> CheckoutView:
    return _verified(env, view) if view.payment.state in OPEN_STATES else view


def _verified(env: Env, view: CheckoutView) -> CheckoutView:
    """Ask the provider, when the settings allow and not more often than they say.

    A provider that tells nothing by itself is always asked: that is no recovery, but its way.
    """
    settings = env.settings
    is_told = "webhooks" in env.providers[view.payment.provider].can
    if is_told and not (
        settings.recovery_enabled and settings.recovery_auto_verify_on_success_page
    ):
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


def _nobodys(request: Request, title: str) -> Response:
    """For who comes back with no order of ours: it depends on nothing that the address says."""
    env: Env = request.app.state.env
    address = _http(env.settings.stripe_return_url)
    t = reader.tongue(request)
    page = OutcomePage(
        tone="info", icon="hourglass", title=t("co_back_title", provider=title),
        text=t("co_back_text"),
        items=[], currency="", total_minor=0, payment_id=None, is_paid=False, is_pending=False,
        credits=0, has_credits=False, balance=0, again_url="",
        continue_url=_filled(address, "") if address else None, continue_word=t("co_go_back"),
    )  # fmt: skip
    return look.page(request, "outcome.html", view=page, t=t, lang=t.locale)


def _outcome(request: Request, view: CheckoutView) -> Response:
    """What became of an order, for who holds its secret."""
    env: Env = request.app.state.env
    payment = view.payment
    shown = ids.show("checkout", view.id)
    is_pending = payment.state in OPEN_STATES or payment.state == "authorized"
    can_pay = is_pending and view.url is not None and _stands_still(payment)
    t = _tongue(request, view)
    if payment.paid:
        told = "paid"
    elif is_pending:
        told = _waiting(env, view, can_pay)
    else:
        told = payment.state if payment.state in _ENDS else "canceled"
    tone, icon = _TOLD[told]
    balance = 0
    if payment.paid and payment.credits:
        with env.db.read() as tx:
            balance = credits.balance_total(tx, view.customer_id, env.now())
    goes_on, word = _continue(view, shown, env.settings.stripe_return_url)
    if can_pay:
        goes_on, word = view.url, "co_to_page"
    page = OutcomePage(
        tone=tone,
        icon=icon,
        title=t(f"co_{told}_title"),
        text=t(f"co_{told}_text"),
        items=_items(t, view),
        currency=payment.currency,
        total_minor=payment.captured.minor if payment.paid else payment.amount.minor,
        payment_id=ids.show("payment", payment.id),
        is_paid=payment.paid,
        is_pending=is_pending and not can_pay,
        credits=payment.credits,
        has_credits=payment.credits_added,
        balance=balance,
        continue_url=goes_on,
        continue_word=t(word),
        again_url=_home(view),
    )
    return look.page(request, "outcome.html", view=page, t=t, lang=t.locale)


def _stands_still(payment: PaymentView) -> bool:
    """Whether nothing goes on until the payer goes back: a declined try, or a step left to do."""
    if payment.state == "requires_action":
        return True
    return payment.state == "pending" and payment.error_code is not None


def _waiting(env: Env, view: CheckoutView, can_pay: bool) -> str:
    if can_pay:
        return "declined" if view.payment.error_code else "action"
    return "pending" if _is_fresh(env, view) else "slow"


def _means(t: Tongue, means: tuple[str, str]) -> tuple[str, str]:
    """How a provider is paid, in words, and its icon."""
    key = f"means_{means[0].lower().replace(' ', '_')}"
    return (t(key) if t.has(key) else means[0], means[1])


def _sandbox(t: Tongue, is_live: bool, provider: str) -> str:
    """What a payer who tries is told; empty where the money is real."""
    if is_live:
        return ""
    how = t("co_test_card", card="4242 4242 4242 4242") if provider == "stripe" else ""
    return f"{t('co_sandbox')} {how}".rstrip()


def _is_fresh(env: Env, view: CheckoutView) -> bool:
    """For the first minutes the page says that it is being confirmed, then that it takes longer."""
    return (env.now() - view.payment.updated_at).total_seconds() < 180


def _continue(view: CheckoutView, shown: str, return_url: str) -> tuple[str | None, str]:
    """Where the button leads, by what happened, and the key of its word; `return_url` where the
    checkout says nothing."""
    state = view.payment.state
    if state == "failed" and view.url:
        return view.url, "co_again"
    if view.payment.paid or state in ("processing", "authorized"):
        address = _http(view.success_url) or _http(return_url)
        return (_filled(address, shown) if address else None), "co_continue"
    address = _http(view.cancel_url)
    return (_filled(address, shown) if address else None), "co_go_back"


def _filled(address: str, checkout_id: str) -> str:
    """Stripe's placeholder in an application's address becomes our id."""
    return address.replace("{CHECKOUT_SESSION_ID}", checkout_id)


def _http(address: str | None) -> str | None:
    return address if address and address.startswith(("https://", "http://")) else None


def _items(t: Tongue, view: CheckoutView) -> list[Item]:
    """What is bought, from the lines that were written when the checkout was opened."""
    items = []
    for line in view.lines:
        credits_ = line.get("credits") or 0
        words = _lasts(t, credits_, line.get("expires_days")) if credits_ else ""
        if (count := line.get("quantity") or 1) > 1:
            words = t("co_pieces", count=t.count(count))
        price = (line.get("amount_minor") or 0) + (line.get("discount_minor") or 0)
        icon = "coins" if credits_ else "receipt"
        is_invoice = view.payment.purpose == invoice_books.PURPOSE
        items.append(Item(_name(t, line.get("description"), is_invoice), words, price, icon))
    return items


def _name(t: Tongue, text: str | None, is_invoice: bool) -> str:
    """What a line is for: a name as it is, an invoice in the language."""
    word, _, number = (text or "").partition(" ")
    if is_invoice and word == "Invoice":
        return f"{t('invoice')} {number}".rstrip()
    return text or t("payment")


def _bonus(t: Tongue, view: CheckoutView) -> str:
    number = sum(line.get("bonus_credits") or 0 for line in view.lines)
    return t("co_bonus", count=t.count(number)) if number else ""


def _lasts(t: Tongue, credits_: int, days: int | None) -> str:
    if not days:
        return t("co_credits_ever", count=t.count(credits_))
    time = t("co_year") if days in (365, 366) else t("some_days", count=t.count(days))
    return t("co_credits", count=t.count(credits_), time=time)
