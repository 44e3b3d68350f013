"""What the dashboard's screens share: the frame, who may do what, what is said after an action."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotPermitted
from paydesk.flows import desk_lists, reports
from paydesk.pages import look, session
from paydesk.pages.portal_words import ENGLISH
from paydesk.pages.session import Operator

#: What is done at the desk -> roles that may: of those who may look, whom the interface lets.
MAY: dict[str, tuple[str, ...]] = {
    "subscriptions": ("admin", "support"),
    "invoices.pay": ("admin", "finance", "support"),
    "invoices.finalize": ("admin", "finance"),
    "invoices.close": ("admin", "finance"),
    "credit_notes": ("admin", "finance"),
    "refunds.decide": ("admin", "finance"),
    "refunds.settle": ("admin", "finance"),
    "refunds.cancel": ("admin", "finance", "support"),
    "disputes.evidence": ("admin", "finance", "support"),
    "disputes.accept": ("admin", "finance"),
    "wallets.freeze": ("admin", "finance", "support"),
    "wallets.open": ("admin", "finance"),
    "risk": ("admin", "finance"),
}

_OK, _WARN, _BAD = ("ok", "circle-check"), ("warn", "triangle-alert"), ("bad", "circle-x")
#: What is said after an action, by the word that it leaves in the address.
NOTICES: dict[str, tuple[str, str, str]] = {
    "verified": (*_OK, "The provider was asked; this is what it says."),
    "ended": (*_OK, "The checkout was ended: it cannot be paid any more."),
    "late": (*_WARN, "It was paid before it could be ended."),
    "retry": (*_OK, "The goods were handed over."),
    "waive": (*_OK, "What came was accepted; the goods were handed over."),
    "replayed": (*_OK, "The webhook was applied again."),
    "still": (*_WARN, "It was tried again and still cannot be applied."),
    # subscriptions
    "changed": (*_OK, "The subscription was changed."),
    "scheduled": (*_OK, "The change takes effect at the period's end."),
    "dropped": (*_OK, "The change that waited was dropped."),
    "moved": (*_WARN, "Another change waits by now, which this page shows. Nothing was dropped."),
    "gone": (*_WARN, "That change waits no more: this is how the subscription stands now."),
    "kept": (*_BAD, "The provider refused: the change waits as before."),
    "asked": (*_WARN, "The provider has not answered yet: it is asked again by itself."),
    "another": (*_WARN, "Another change waits for its payment: take it back first."),
    "outdated": (*_WARN, "The figures have moved since: these are the new ones. Nothing changed."),
    "declined": (*_BAD, "The charge was declined. Nothing changed."),
    "no_method": (*_BAD, "There is no payment method that can be charged. Nothing changed."),
    "will_end": (*_OK, "It ends with the period that is paid for."),
    "canceled": (*_OK, "It is canceled, and what it opened is shut."),
    "reactivated": (*_OK, "The cancellation was taken back: it renews as before."),
    "paused": (*_OK, "It is paused: nothing is billed and nothing is open."),
    "resumed": (*_OK, "It runs on; the period ends later by the pause."),
    # invoices
    "paid": (*_OK, "The invoice is paid."),
    "charging": (*_OK, "The charge is under way; the invoice shows it once it is confirmed."),
    "finalized": (*_OK, "The invoice was finalized."),
    "voided": (*_OK, "The invoice is void: it asks for nothing any more."),
    "given_up": (*_OK, "No more tries are made. It may still be paid."),
    "credited": (*_OK, "The credit note was written."),
    # refunds
    "approved": (*_OK, "The refund was approved and is on its way."),
    "rejected": (*_OK, "The request was refused; nothing moved."),
    "taken_back": (*_OK, "The request was taken back."),
    "settled": (*_OK, "What became of the refund is on record."),
    # disputes
    "drafted": (*_OK, "The draft was saved. Nothing goes to the bank before you submit it."),
    "submitted": (*_OK, "The evidence went to the bank."),
    "accepted": (*_OK, "The dispute was given up: the money stays with the bank."),
    "filed": (*_OK, "The file was added."),
    "unfiled": (*_OK, "The file was taken out."),
    # wallets, risk
    "frozen": (*_OK, "Nothing leaves this wallet any more."),
    "opened": (*_OK, "The wallet is open again."),
    "closed": (*_OK, "The wallet is closed."),
    "decided": (*_OK, "The decision is on record."),
    "listed": (*_OK, "The value is on its list and decides from now on."),
    "unlisted": (*_OK, "The value decides no more."),
}


def show(request: Request, name: str, **context: Any) -> Response:
    """A page inside the dashboard's frame. Raises SignInNeeded."""
    who = context.pop("who", None) or session.operator(request)
    env = request.app.state.env
    with env.db.read() as tx:
        waiting = desk_lists.waiting(tx)
    tone, icon, text = NOTICES.get(request.query_params.get("done", ""), ("", "", ""))
    context["notice"] = {"tone": tone, "icon": icon, "text": text} if text else None
    return look.page(
        request, name, who=who, waiting=waiting, development=session.is_development(request),
        may=lambda what: may(who, what), t=ENGLISH, **context,
    )  # fmt: skip


def may(who: Operator, what: str) -> bool:
    return who.role in MAY[what]


def actor(request: Request, csrf: str, what: str) -> Operator:
    """Who sent this form, where that one may do this. Raises SignInNeeded, NotPermitted."""
    who = session.operator(request)
    session.check_form(request, who, csrf, MAY[what])
    return who


def refuse(who: Operator, what: str) -> None:
    """Raises NotPermitted for a page that only leads to what this role may not do."""
    if not may(who, what):
        raise NotPermitted(f"The role {who.role} may look at this, not change it.")


def done(path: str, word: str) -> Response:
    """Back to a page, which says what was done."""
    return look.go(f"{path}?done={word}")


def older(path: str, cursor: str, **kept: str) -> str:
    """The address of the next page of a list, with its filters; "" on the last."""
    return address(path, **kept, before=cursor) if cursor else ""


def address(path: str, **told: str) -> str:
    """A path with those of its parameters that say something."""
    named = urlencode({k: v for k, v in told.items() if v})
    return f"{path}?{named}" if named else path


def payment_rows(rows: list[reports.Row]) -> list[reports.Row]:
    """Rows of payments as their table shows them."""
    for row in rows:
        row["ident"] = ids.show("payment", row["id"])
        row["customer"] = ids.show("customer", row["customer_id"])
        row["method_text"] = method_text(row["method"], "—")
    return rows


def method_text(method: str | None, otherwise: str = "") -> str:
    """A method with a capital letter: `Card`, `Visa •• 4242`."""
    text = method or otherwise
    return text[:1].upper() + text[1:].replace("_", " ")
