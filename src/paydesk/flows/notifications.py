"""Mails: written as rows when an event calls for one, gathered, rendered, and sent at least once.

A row is the promise of a mail; what it shows is gathered once and kept with it, so that every try
sends the same under the same Message-ID. Without a mail server rows are kept to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, Misconfigured, NotFound, PaydeskError
from paydesk.flows import billing_facts, customers, events, heads, mail_facts, payments, sweeps
from paydesk.flows.events import Event
from paydesk.logger import get_logger
from paydesk.notify import billing, brand, mail, receipts, render, words
from paydesk.notify.render import KINDS, STAFF_KINDS, Rendered
from paydesk.rules import fields

if TYPE_CHECKING:
    from paydesk.settings import Settings

log = get_logger(__name__)

#: Types of events that call for a mail. Low and expiring credits have rules of their own, and
#: `billing_facts` knows those of subscriptions and invoices.
KIND_OF = {
    "payment.succeeded": "receipt",
    "payment.failed": "payment_failed",
    "refund.succeeded": "refund",
    "refund.failed": "refund_failed",
    "dispute.opened": "dispute_opened",
    "dispute.due_soon": "dispute_due_soon",
    "webhook_endpoint.disabled": "endpoint_disabled",
    "refill.paused": "refill_paused",
    "payment.reminder": "payment_reminder",
    "invoice.reminder": "invoice_reminder",
}
MAX_TRIES = 8
_LEASE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Notification:
    """A mail that was or will be sent. `state`: waiting, sent, kept (no mail server), skipped
    (nobody to send it to; `error` says why) or parked (given up)."""

    id: UUID
    customer_id: UUID
    kind: str
    is_staff: bool
    recipient: str | None
    locale: str | None
    data: dict[str, Any] | None
    state: str
    tries: int
    error: str | None
    sent_at: datetime | None
    created_at: datetime


# Which are on -----------------------------------------------------------------------------------


def kinds_on(settings: Settings) -> list[str]:
    """Kinds that are sent. Raises Misconfigured for a kind that does not exist."""
    off = {one for one in re.split(r"[,\s]+", settings.notifications_off) if one}
    if unknown := off - {*KINDS, "all"}:
        raise Misconfigured(
            f"PAYDESK_NOTIFICATIONS_OFF names {sorted(unknown)[0]!r}; kinds are"
            f" {', '.join(KINDS)} and all.", param="PAYDESK_NOTIFICATIONS_OFF",
        )  # fmt: skip
    return [] if "all" in off else [one for one in KINDS if one not in off]


def any_on(settings: Settings) -> bool:
    return bool(kinds_on(settings))


# Writing ----------------------------------------------------------------------------------------


def enqueue(tx: Tx, env: Env, found: Sequence[Event]) -> int:
    """Write the mails that a customer's events call for; the head must be locked."""
    on = kinds_on(env.settings)
    rows = []
    for event in found:
        kind = KIND_OF.get(event.type) or billing_facts.kind_of(event)
        if kind is None and _falls_low(env, event):
            kind = "credits_low"
        if kind in on and not _is_told_elsewhere(tx, env, event, kind):
            about = event.subject_id if kind == "receipt" else ids.parse("event", event.id)
            rows.append((kind, about.hex, event.seq, event.created_at))
    if not rows:
        return 0
    customer_id, now = found[0].customer_id, env.now()
    # A clock may be months ahead by now: its customers' mails are of the day of the fact.
    is_clocked = tx.heads[customer_id].clock_id is not None
    return tx.run(
        "insert into notifications (customer_id, id, kind, dedupe, seq, is_staff, state, try_at,"
        " created_at) select %(customer_id)s, n.id, n.kind, n.dedupe, n.seq,"
        " n.kind = any(%(staff)s), 'waiting', %(now)s, n.at from unnest(%(ids)s::uuid[],"
        " %(kinds)s::text[], %(dedupes)s::text[], %(seqs)s::bigint[], %(ats)s::timestamptz[])"
        " as n (id, kind, dedupe, seq, at) on conflict (customer_id, kind, dedupe) do nothing",
        {"customer_id": customer_id, "now": now, "staff": sorted(STAFF_KINDS),
         "ats": [r[3] if is_clocked else now for r in rows],
         "ids": [ids.new_owned(customer_id) for _ in rows], "kinds": [r[0] for r in rows],
         "dedupes": [r[1] for r in rows], "seqs": [r[2] for r in rows]},
    )  # fmt: skip


#: Kinds that the provider may have of its own, for subscriptions that it runs.
_BILLED = frozenset({*billing.KINDS, "receipt", "payment_failed"})


def _is_told_elsewhere(tx: Tx, env: Env, event: Event, kind: str) -> bool:
    """Whether another mail says it: of a period's failed charge the subscription's own, and of
    what the provider bills the provider's, where the setting says so."""
    whose = event.customer_id
    if env.settings.provider_subscription_mails == "provider" and kind in _BILLED:
        about = None if event.type.startswith("credit_note.") else event
        if about is not None and billing_facts.runner_of(tx, whose, about) == "provider":
            return True
    if kind != "payment_failed":
        return False
    of = billing_facts.of_invoice(tx, whose, event.subject_id)
    if of is None or of["subscription_id"] is None:
        return False
    if of["runner"] == "provider":
        return of["reason"] == "subscription_cycle"  # As `subscription.past_due`, or by itself.
    # What follows is written with it, a few events later.
    near = events.follow(tx, whose, event.seq, limit=12)
    return any(
        one.type in billing_facts.TOLD_BY and one.subject_id == of["subscription_id"]
        and one.created_at == event.created_at for one in near
    )  # fmt: skip


def _falls_low(env: Env, event: Event) -> bool:
    """Whether this event brought the balance from above the threshold to below it."""
    after, amount = event.data.get("balance"), event.data.get("amount")
    is_loss = event.type in ("credits.spent", "credits.expired") or (
        event.type == "credits.transferred" and event.data.get("direction") == "out"
    )
    if not is_loss or not isinstance(after, int) or not isinstance(amount, int):
        return False
    return after < env.settings.credits_low <= after + amount


def tell_expiring(env: Env, limit: int = 200) -> int:
    """Tell of credits that end within the days of the setting, once for a customer and day."""
    days = env.settings.credits_expiring_days
    if not days or "credits_expiring" not in kinds_on(env.settings):
        return 0
    now = env.now()
    with env.db.read() as tx:
        rows = tx.all(
            "select b.customer_id, (b.expires_at at time zone 'UTC')::date as on_day,"
            " sum(b.remaining)::bigint as credits from batches b"
            " where b.open and b.clock_id is null and b.expires_at > %(now)s"
            " and b.expires_at <= %(until)s and b.granted_at < b.expires_at - %(days)s"
            " and not exists (select 1 from notifications n where n.customer_id = b.customer_id"
            "  and n.kind = 'credits_expiring'"
            "  and n.dedupe = to_char(b.expires_at at time zone 'UTC', 'YYYY-MM-DD'))"
            " group by 1, 2 order by 2, 1 limit %(limit)s",
            {"now": now, "until": now + timedelta(days=days), "days": timedelta(days=days),
             "limit": limit},
        )  # fmt: skip
    done = 0
    for row in rows:
        with sweeps.one_row("credits_expiring", row["customer_id"]):
            done += tell_one(env, row["customer_id"], row["on_day"].isoformat(), row["credits"])
    return done


def tell_one(env: Env, customer_id: UUID, on_day: str, credits: int) -> int:
    """Tell a customer of credits that end on a day; answers whether this call did."""
    with env.db.transaction(customer_id, wait_s=sweeps.WAIT_S) as tx:
        written = tx.run(
            "insert into notifications (customer_id, id, kind, dedupe, state, try_at, created_at)"
            " values (%(customer_id)s, %(id)s, 'credits_expiring', %(day)s, 'waiting', %(now)s,"
            " %(at)s) on conflict (customer_id, kind, dedupe) do nothing",
            {"customer_id": customer_id, "id": ids.new_owned(customer_id), "day": on_day,
             "now": env.now(), "at": heads.now(env, customer_id, tx)},
        )  # fmt: skip
        if written:
            seq = events.emit(tx, customer_id, "credits.expiring", customer_id,
                              {"amount": credits, "expires_on": on_day}, at=env.now())  # fmt: skip
            tx.run(
                "update notifications set seq = %(seq)s where customer_id = %(customer_id)s"
                " and kind = 'credits_expiring' and dedupe = %(day)s",
                {"customer_id": customer_id, "seq": seq, "day": on_day},
            )
    return written


# Sending ----------------------------------------------------------------------------------------


def send_due(env: Env, *, limit: int = 20) -> int:
    """Send what is due; answers how many were sent or kept."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from notifications where state = 'waiting'"
            " and try_at <= %(now)s order by try_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for row in rows:
        with sweeps.one_row("notifications", row["id"]):
            done += _send_one(env, row["customer_id"], row["id"])
    return done


def _send_one(env: Env, customer_id: UUID, notification_id: UUID) -> bool:
    row = _lease(env, customer_id, notification_id)
    if row is None:
        return False
    try:
        row = _with_facts(env, row)
        server = mail.server_of(env.settings)
        if server is None:
            _settle(env, row, "kept")
            return True
        message = mail.composed(
            env.settings, rendered(env, row), _addresses(row.recipient or ""),
            ids.show("notification", row.id), row.created_at,
        )  # fmt: skip
        refused = mail.send(server, message)
    except mail_facts.Nobody as exc:
        _settle(env, row, "skipped", str(exc))
        return False
    except billing_facts.NotYet as exc:
        _put_off(env, row, str(exc))
        return False
    except mail.MailFailed as exc:
        _settle(env, row, "parked" if exc.is_final else "waiting", str(exc))
        return False
    except Misconfigured:
        raise
    except (PaydeskError, ValueError, TypeError, KeyError, RuntimeError) as exc:
        log.exception("a mail cannot be written", id=ids.show("notification", row.id))
        _settle(env, row, "waiting", f"{type(exc).__name__}: {exc}")
        return False
    note = ", ".join(f"{address} was refused with {code}" for address, code in refused.items())
    _settle(env, row, "sent", note or None)
    return True


def _lease(env: Env, customer_id: UUID, notification_id: UUID) -> Notification | None:
    with env.db.transaction(customer_id, wait_s=sweeps.WAIT_S) as tx:
        row = tx.one(
            "update notifications set try_at = %(until)s where customer_id = %(customer_id)s"
            " and id = %(id)s and state = 'waiting' and try_at <= %(now)s"
            " returning id, customer_id, kind, is_staff, recipient, locale, data, state, tries,"
            " error, sent_at, created_at",
            {"customer_id": customer_id, "id": notification_id, "now": env.now(),
             "until": env.now() + _LEASE},
        )  # fmt: skip
    return Notification(**row) if row else None


def _with_facts(env: Env, row: Notification) -> Notification:
    """The row with what it shows, gathered and stored before the first sending."""
    if row.data is not None and row.recipient:
        return row
    with env.db.read() as tx:
        seq = tx.value(
            "select seq from notifications where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": row.customer_id, "id": row.id},
        )
        found = events.follow(tx, row.customer_id, seq - 1, limit=1)
    assert found, "a notification without its event"
    customer = customers.get(env, row.customer_id)
    data = mail_facts.of_event(row.kind, env, customer, found[0])
    if row.is_staff:
        locale, recipient = env.settings.default_locale, env.settings.staff_email
        why_not = "PAYDESK_STAFF_EMAIL is not set."
    else:
        locale = words.locale_of(customer.metadata.get("locale"), env.settings.default_locale)
        recipient, why_not = data["email"] or "", "The customer has no e-mail address."
    with env.db.transaction(row.customer_id) as tx:
        saved = tx.one(
            "update notifications set data = %(data)s, locale = %(locale)s,"
            " recipient = %(recipient)s where customer_id = %(customer_id)s and id = %(id)s"
            " returning id, customer_id, kind, is_staff, recipient, locale, data, state, tries,"
            " error, sent_at, created_at",
            {"customer_id": row.customer_id, "id": row.id, "data": data, "locale": locale,
             "recipient": recipient or None},
        )  # fmt: skip
    assert saved is not None
    if not _addresses(recipient):
        raise mail_facts.Nobody(why_not)
    return Notification(**saved)


def _settle(env: Env, row: Notification, state: str, error: str | None = None) -> None:
    tries = row.tries + 1
    if state == "waiting" and tries >= MAX_TRIES:
        state = "parked"
    with env.db.transaction(row.customer_id) as tx:
        tx.run(
            "update notifications set state = %(state)s, tries = %(tries)s, error = %(error)s,"
            " try_at = %(then)s, sent_at = case when %(state)s = 'sent' then %(now)s end"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'waiting'",
            {"customer_id": row.customer_id, "id": row.id, "state": state, "tries": tries,
             "error": error and error[:500], "now": env.now(), "then": env.now() + _pause(tries)},
        )  # fmt: skip


def _put_off(env: Env, row: Notification, why: str) -> None:
    """Look at it again later; that is no try that failed."""
    with env.db.transaction(row.customer_id) as tx:
        tx.run(
            "update notifications set error = %(why)s, try_at = %(then)s"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'waiting'",
            {"customer_id": row.customer_id, "id": row.id, "why": why,
             "then": env.now() + sweeps.SET_BACK},
        )  # fmt: skip


def _pause(tries: int) -> timedelta:
    """30 s, 1 min, 2 min … at most six hours."""
    return timedelta(seconds=min(30 * 2 ** min(tries - 1, 20), 21_600))


def _addresses(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


# Looking ----------------------------------------------------------------------------------------


def rendered(env: Env, row: Notification, *, with_pdf: bool = True) -> Rendered:
    """The mail as it is sent. Raises NotFound before its facts are gathered, Misconfigured where
    the logo of the settings cannot be used."""
    if row.data is None:
        raise NotFound("This mail is not written yet.")
    logo = brand.logo(env.settings)
    return render.mail(row.kind, row.locale or "en", row.data, logo=logo, with_pdf=with_pdf)


def receipt_pdf(
    env: Env, customer_id: UUID | None, payment: str | UUID, locale: str | None = None
) -> tuple[str, bytes]:
    """(File name, PDF) of a paid payment's receipt. Raises NotFound while nothing is paid."""
    one = payments.get(env, customer_id, payment)
    if not one.captured.minor:
        raise NotFound("There is no receipt: nothing was paid.")
    if locale is not None and locale not in words.LOCALES:
        raise InvalidRequest(f"locale is one of {', '.join(words.LOCALES)}.", param="locale")
    customer = customers.get(env, one.customer_id)
    facts = mail_facts.common(env, customer) | mail_facts.payment(env, customer, one.id)
    language = locale or words.locale_of(
        customer.metadata.get("locale"), env.settings.default_locale
    )
    content = receipts.pdf(language, facts, brand.logo(env.settings))
    return f"receipt-{facts['number']}.pdf", content


def get(env: Env, notification: str) -> Notification:
    """One mail by its id, which names its customer. Raises NotFound."""
    notification_id = ids.parse("notification", notification)
    with env.db.read() as tx:
        row = tx.one(
            "select id, customer_id, kind, is_staff, recipient, locale, data, state, tries, error,"
            " sent_at, created_at from notifications where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": ids.customer_of(notification_id), "id": notification_id},
        )
    if row is None:
        raise NotFound(f"No such notification: {notification[:64]!r}.")
    return Notification(**row)


def list_(
    env: Env, *, limit: int = 50, state: str | None = None, after: str | None = None
) -> list[Notification]:
    """Mails of everybody, newest first."""
    last = get(env, after) if after else None
    with env.db.read() as tx:
        rows = tx.all(
            "select id, customer_id, kind, is_staff, recipient, locale, data, state, tries, error,"
            " sent_at, created_at from notifications"
            " where (%(state)s::text is null or state = %(state)s)"
            " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(last)s))"
            " order by created_at desc, id desc limit %(limit)s",
            {"state": state, "limit": limit, "at": last.created_at if last else None,
             "last": last.id if last else None},
        )  # fmt: skip
    return [Notification(**row) for row in rows]


def note_bounce(env: Env, notification: str, reason: str) -> Notification:
    """Park a mail that came back after it was sent: it reached nobody. Only one that was sent, or
    may have been, can come back. Raises NotFound, InvalidRequest."""
    why = fields.text(reason, "reason", most=400)
    one = get(env, notification)
    if one.state not in ("sent", "waiting", "parked"):
        raise InvalidRequest(f"This mail was never sent: it is {one.state}.")
    with env.db.transaction(one.customer_id) as tx:
        tx.run(
            "update notifications set state = 'parked', error = %(error)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": one.customer_id, "id": one.id, "error": f"It came back: {why}"},
        )
    return get(env, notification)


def resend(env: Env, notification: str) -> Notification:
    """Send a mail again, with the facts it had."""
    one = get(env, notification)
    with env.db.transaction(one.customer_id) as tx:
        tx.run(
            "update notifications set state = 'waiting', tries = 0, try_at = %(now)s, error = null"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": one.customer_id, "id": one.id, "now": env.now()},
        )
    return get(env, notification)
