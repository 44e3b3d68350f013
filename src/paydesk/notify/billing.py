"""What mails about subscriptions and invoices show, in a language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paydesk.notify import formats, invoices, receipts

Facts = Mapping[str, Any]
Row = tuple[str, str]
Say = Callable[..., str]

#: Kinds that share one template.
KINDS = (
    "trial_ending", "trial_ended", "renewal_upcoming", "renewal_failed", "renewal_action",
    "card_expiring", "subscription_changed", "subscription_ending", "subscription_kept",
    "subscription_canceled", "subscription_gave_up", "subscription_paused",
    "subscription_resumed", "invoice", "invoice_paid", "credit_note",
    "credit_note_voided",
)  # fmt: skip
TEMPLATE = "billing"
#: Decline codes -> our words for them. Nobody is told that his card was reported stolen.
DECLINES = {
    "card_declined": "card_declined", "generic_decline": "card_declined",
    "do_not_honor": "card_declined", "insufficient_funds": "insufficient_funds",
    "expired_card": "expired_card", "incorrect_cvc": "incorrect_cvc",
    "authentication_required": "not_authenticated",
    "authentication_not_handled": "not_authenticated",
    "payer_action_required": "not_authenticated",
    "payment_intent_authentication_failure": "not_authenticated",
    **dict.fromkeys(("payment_method_not_usable", "no_account", "account_closed"), "no_method"),
    **dict.fromkeys(("issuer_not_available", "processing_error", "provider_unavailable",
                     "reenter_transaction", "try_again_later"), "bank_unreachable"),
    **dict.fromkeys(("incorrect_number", "invalid_number", "incorrect_zip", "incorrect_address",
                     "invalid_expiry_month", "invalid_expiry_year", "invalid_account"),
                    "card_details"),
    **dict.fromkeys(("stop_payment_order", "revocation_of_authorization",
                     "revocation_of_all_authorizations", "debit_not_authorized"), "not_allowed"),
}  # fmt: skip


def shown(kind: str, w: Say, locale: str, f: Facts) -> dict[str, Any]:
    """What the template takes: heading, texts, figures, facts, a button, and notes after it."""
    told: dict[str, Any] = {
        "heading": w(f"{kind}_heading"), "texts": [], "lines": (), "total": None, "after": (),
        "facts": [], "button": None, "notes": [],
    }  # fmt: skip
    if "plan" in f:
        told["plan"] = _many(locale, f["plan"], f["quantity"])
    return told | _SHOWN[kind](w, locale, {**f, "plan_shown": told.get("plan")})


def _many(locale: str, plan: str, quantity: int) -> str:
    return plan if quantity == 1 else f"{formats.number(quantity, locale)} × {plan}"


def _amount(locale: str, f: Facts, name: str = "amount") -> str:
    return formats.amount(f[name], f["currency"], locale)


def _day(locale: str, f: Facts, name: str) -> str:
    return formats.day_of(f[name], locale)


def _reason(w: Say, f: Facts) -> Row:
    return w("reason"), w(DECLINES.get(f.get("error_code") or "", "bank_declined"))


def _account(w: Say, f: Facts, label: str = "manage") -> Row | None:
    return (w(label), f["account_url"]) if f.get("account_url") else None


def _how_to_end(w: Say, f: Facts) -> list[str]:
    """How a customer gets out of it, by whichever way there is."""
    if f.get("account_url"):
        return [w("manage_account")]
    if f.get("contact"):
        return [w("manage_mail", contact=f["contact"])]
    return [w("manage_business", business=f["business"])]


# Trials and renewals -------------------------------------------------------------------------


def _trial_ending(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, date = _amount(locale, f), _day(locale, f, "ends_at")
    key = "trial_ending_text" if f["amount"] else "trial_ending_free"
    if not f["has_method"]:
        key = "trial_ending_no_method"
    return {
        "amount": amount, "date": date,
        "texts": [w(key, plan=f["plan_shown"], date=date, amount=amount)],
        "facts": [(w("plan"), f["plan_shown"]), (w("trial_ends"), date),
                  (w("to_charge"), amount)],
        "button": _account(w, f, "manage" if f["has_method"] else "add_method"),
        "notes": _how_to_end(w, f) if f["has_method"] else [],
    }  # fmt: skip


def _trial_ended(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "at")
    return {
        "texts": [w("trial_ended_text", plan=f["plan_shown"], date=date)],
        "facts": [(w("plan"), f["plan_shown"]), (w("ended_on"), date)],
        "button": _account(w, f, "subscribe_again"),
    }


def _upcoming(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, date = _amount(locale, f), _day(locale, f, "renews_at")
    return {
        "date": date,
        "texts": [w("renewal_upcoming_text", plan=f["plan_shown"], date=date, amount=amount)],
        "facts": [(w("plan"), f["plan_shown"]), (w("renews_on"), date),
                  (w("to_charge"), amount)],
        "button": _account(w, f), "notes": _how_to_end(w, f),
    }  # fmt: skip


def _failed(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, until = _amount(locale, f), f.get("retry_at") or f.get("final_at")
    date = formats.day_of(until, locale) if until else ""
    texts = [w("renewal_failed_text", plan=f["plan_shown"], amount=amount)]
    if until:
        key = "renewal_failed_retry" if f.get("retry_at") else "renewal_failed_wait"
        texts.append(w(key, date=date))
    facts = [_reason(w, f), (w("plan"), f["plan_shown"]), (w("amount_due"), amount)]
    if until:
        facts.append((w("next_try" if f.get("retry_at") else "pay_until"), date))
    return {"amount": amount, "texts": texts, "facts": _tried(w, locale, f, facts), **_to_pay(w, f)}


def _action(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, until = _amount(locale, f), f.get("retry_at") or f.get("final_at")
    facts = [(w("plan"), f["plan_shown"]), (w("amount_due"), amount)]
    if until:
        facts.append((w("pay_until"), formats.day_of(until, locale)))
    return {
        "amount": amount,
        "texts": [w("renewal_action_text", plan=f["plan_shown"], amount=amount)],
        "facts": _tried(w, locale, f, facts), **_to_pay(w, f, "confirm_payment"),
    }  # fmt: skip


def _tried(w: Say, locale: str, f: Facts, facts: list[Row]) -> list[Row]:
    """The invoice, and what was to be charged."""
    if f.get("number"):
        facts.append((w("invoice_number"), f["number"]))
    if f.get("card") and (way := receipts.method(locale, {"card": f["card"], "method": "card"})):
        facts.append((w("method_tried"), way))
    return facts


def _to_pay(w: Say, f: Facts, label: str = "pay_now") -> dict[str, Any]:
    """The button to the invoice's page, else to the account."""
    if not f.get("pay_url"):
        return {"button": _account(w, f, "update_method"), "notes": []}
    url = f.get("account_url")
    return {"button": (w(label), f["pay_url"]), "notes": [w("method_at", url=url)] if url else []}


def _card(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    card = receipts.method(locale, {"card": f["card"], "method": "card"}) or w("method_card")
    date = _day(locale, f, "renews_at")
    return {
        "texts": [w("card_expiring_text", plan=f["plan_shown"], date=date, card=card)],
        "facts": [(w("method_card"), card), (w("expires"), f["expires"]),
                  (w("renews_on"), date)],
        "button": _account(w, f, "update_method"),
    }  # fmt: skip


# What became of it ---------------------------------------------------------------------------


def _changed(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "renews_at")
    waits = f["waits"]
    texts = [w("changed_at_end" if waits else "subscription_changed_text", plan=f["plan_shown"],
               date=date)]  # fmt: skip
    found: dict[str, Any] = {"texts": texts, "button": _account(w, f), "notes": []}
    was = _many(locale, f["plan_was"], f["quantity_was"]) if f.get("plan_was") else None
    facts = [(w("plan"), f["plan_shown"])]
    if was and was != f["plan_shown"]:
        facts.append((w("plan_before"), was))
    facts += [(w("price"), _amount(locale, f)),
              (w("takes_effect" if waits else "renews_on"), date)]  # fmt: skip
    found["facts"] = facts
    if f.get("paper"):
        paper = invoices.invoice(locale, f["paper"])
        found |= {"lines": [(name, amount) for name, _, _, _, amount in paper.lines] + paper.sums,
                  "total": paper.total}  # fmt: skip
        if (back := -f["paper"]["balance"]) > 0:
            texts.append(w("changed_credit", amount=formats.amount(back, f["currency"], locale)))
    return found


def _ending(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "ends_at")
    return {
        "date": date, "texts": [w("subscription_ending_text", plan=f["plan_shown"], date=date)],
        "facts": [(w("plan"), f["plan_shown"]), (w("ends_on"), date)], "button": _account(w, f),
    }  # fmt: skip


def _kept(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "renews_at")
    return {
        "texts": [w("subscription_kept_text", plan=f["plan_shown"], date=date)],
        "facts": [(w("plan"), f["plan_shown"]), (w("renews_on"), date)],
        "button": _account(w, f),
    }


def _canceled(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "at")
    return {
        "texts": [w("subscription_canceled_text", plan=f["plan_shown"], date=date)],
        "facts": [(w("plan"), f["plan_shown"]), (w("ended_on"), date)],
        "button": _account(w, f, "subscribe_again"),
    }


def _gave_up(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "at")
    named = {"plan": f["plan_shown"], "date": date}
    if f["then"] == "downgraded":
        named["was"] = f["plan_was"]
    found: dict[str, Any] = {
        "texts": [w(f"gave_up_{f['then']}", **named)], "facts": [(w("plan"), f["plan_shown"])],
        "button": _account(w, f, "subscribe_again" if f["then"] == "canceled" else "manage"),
    }  # fmt: skip
    if f["then"] == "downgraded":
        # The subject names the plan that could not be paid.
        found["plan"] = f["plan_was"]
    if f["then"] == "unpaid" and f.get("pay_url"):
        amount = _amount(locale, f)
        found["facts"] = [(w("amount_due"), amount), *_tried(w, locale, f, found["facts"])]
        found |= _to_pay(w, f)
    return found


def _paused(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    until = f.get("resume_at")
    date = formats.day_of(until, locale) if until else ""
    key = "subscription_paused_until" if until else "subscription_paused_text"
    facts = [(w("plan"), f["plan_shown"])] + ([(w("resumes_on"), date)] if until else [])
    return {"texts": [w(key, plan=f["plan_shown"], date=date)], "facts": facts,
            "button": _account(w, f)}  # fmt: skip


def _resumed(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    date = _day(locale, f, "renews_at")
    return {
        "texts": [w("subscription_resumed_text", plan=f["plan_shown"], date=date)],
        "facts": [(w("plan"), f["plan_shown"]), (w("renews_on"), date)],
        "button": _account(w, f),
    }


# Invoices and credit notes -------------------------------------------------------------------


def _invoice(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, date = _amount(locale, f), _day(locale, f, "due_at")
    return {
        "amount": amount, "texts": [w("invoice_text", amount=amount, date=date)],
        **_figures(locale, f["paper"]),
        "facts": [(w("invoice_number"), f["number"] or "—"), (w("due_date"), date)],
        "button": (w("pay_now"), f["pay_url"]) if f.get("pay_url") else None,
    }  # fmt: skip


def _invoice_paid(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, date = _amount(locale, f), _day(locale, f, "at")
    return {
        "amount": amount, "texts": [w("invoice_paid_text", amount=amount, date=date)],
        **_figures(locale, f["paper"]), "facts": [(w("invoice_number"), f["number"] or "—")],
        "button": (w("view_invoice"), f["pay_url"]) if f.get("pay_url") else None,
    }  # fmt: skip


def _figures(locale: str, facts: Facts) -> dict[str, Any]:
    """An invoice's lines and sums in two columns."""
    paper = invoices.invoice(locale, facts)
    lines = [
        (name + (f" × {quantity}" if quantity != "1" else ""), amount)
        for name, _, quantity, _, amount in paper.lines
    ]
    return {"lines": lines + paper.sums, "total": paper.total, "after": paper.after}


def _note(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, paper = _amount(locale, f), invoices.note(locale, f["note"])
    return {
        "amount": amount, "texts": [w("credit_note_text", amount=amount)],
        "lines": paper.after, "total": paper.total, "facts": paper.facts,
        "button": (w("view_invoice"), f["pay_url"]) if f.get("pay_url") else None,
    }  # fmt: skip


def _note_voided(w: Say, locale: str, f: Facts) -> dict[str, Any]:
    amount, paper = _amount(locale, f), invoices.note(locale, f["note"])
    return {
        "amount": amount,
        "texts": [w("credit_note_voided_text", amount=amount), w("credit_note_voided_stays")],
        "facts": paper.facts,
        "button": (w("view_invoice"), f["pay_url"]) if f.get("pay_url") else None,
    }  # fmt: skip


_SHOWN: dict[str, Callable[[Say, str, Facts], dict[str, Any]]] = {
    "trial_ending": _trial_ending, "trial_ended": _trial_ended, "renewal_upcoming": _upcoming,
    "renewal_failed": _failed, "renewal_action": _action, "card_expiring": _card,
    "subscription_changed": _changed, "subscription_ending": _ending, "subscription_kept": _kept,
    "subscription_canceled": _canceled, "subscription_gave_up": _gave_up,
    "subscription_paused": _paused, "subscription_resumed": _resumed, "invoice": _invoice,
    "invoice_paid": _invoice_paid, "credit_note": _note,
    "credit_note_voided": _note_voided,
}  # fmt: skip
