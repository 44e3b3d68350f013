"""Risk: features in a query, rules that weigh them, a queue for people, lists that decide.

A payment is weighed in the transaction that writes it, under the customer's lock, so that of many
at once each sees those before it; and once more when it is known what it was paid with. What is odd
is kept with its reasons; nothing is written of what is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound, PaydeskError, RiskBlocked
from paydesk.flows import attempts, customers, handlers, heads, trail
from paydesk.flows.events import Event, NewEvent, emit_many
from paydesk.rules import fields
from paydesk.rules.fraud import MOST_SCORE, Entry, Features, Verdict, judge, outweighing
from paydesk.rules.money import Money
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore

#: The feed of payments that were paid.
SINK = "risk"
KINDS = ("email", "email_domain", "address", "country", "card", "customer")
ACTIONS = ("allow", "block", "review")
_COUNTRY = re.compile("[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from: its address, the country that the edge in front names, and the
    customer's e-mail as the token says it."""

    address: str | None = None
    country: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A payment that is asked for, and the scores from which it is reviewed or blocked.

    `card` is the fingerprint of a saved method where one is named.
    """

    who: customers.Customer
    payment_id: UUID
    amount: Money
    email: str | None
    card: str | None
    card_country: str | None
    review_from: int
    block_from: int


class _Blocked(RiskBlocked):
    """With what is to be kept of it."""

    def __init__(self, what: Asked, found: Features, verdict: Verdict) -> None:
        super().__init__("This payment cannot be accepted.")
        self.what, self.found, self.verdict = what, found, verdict


_NOWHERE = Origin()
#: Of the request at hand.
origin: ContextVar[Origin | None] = ContextVar("paydesk_origin", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the rules said of a payment, and what a person decided."""

    id: UUID
    customer_id: UUID
    payment_id: UUID | None
    score: int
    decision: str
    reasons: list[dict[str, Any]]
    features: dict[str, Any]
    verdict: str | None
    reviewed_by: str | None
    reviewed_at: datetime | None
    review_note: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A value that decides by itself, until `expires_at`."""

    kind: str
    value: str
    action: str
    reason: str | None
    added_by: str | None
    expires_at: datetime | None
    created_at: datetime


# Weighing ----------------------------------------------------------------------------------------


def check(tx: Tx, now: datetime, what: Asked) -> int:
    """Weigh a payment that is about to be written; answers its score. The head is locked.

    Raises RiskBlocked: the caller's transaction is undone then, and `keep_blocked` writes down
    why.
    """
    if what.block_from > MOST_SCORE and what.review_from > MOST_SCORE:
        return 0
    here = origin.get() or _NOWHERE
    found = _features(
        tx, now, what.who, what.amount, email=what.email, card=what.card,
        card_country=what.card_country, address=here.address, country=here.country,
        told=here.email,
    )  # fmt: skip
    verdict = judge(found, review_from=what.review_from, block_from=what.block_from)
    if verdict.decision == "block":
        raise _Blocked(what, found, verdict)
    if verdict.decision != "allow":
        _write(tx, now, what.who.uuid, what.payment_id, found, verdict)
    return verdict.score


def keep_blocked(env: Env, refusal: PaydeskError) -> None:
    """Write down why a payment was blocked, where that is what refused it."""
    if not isinstance(refusal, _Blocked):
        return
    what = refusal.what
    with env.db.transaction(what.who.uuid) as tx:
        now = heads.decide(tx, env.now(), what.who.uuid)
        _write(tx, now, what.who.uuid, what.payment_id, refusal.found, refusal.verdict)


def _features(
    tx: Tx, now: datetime, who: customers.Customer, amount: Money, *, email: str | None,
    card: str | None, card_country: str | None, address: str | None, country: str | None,
    told: str | None = None, apart_from: UUID | None = None,
) -> Features:  # fmt: skip
    """Everything the rules look at, in one statement that reads a bounded number of rows."""
    mails = {(one or "").strip().lower() for one in (who.email, told)}
    named = (email or "").strip().lower()
    known = {
        *_of_mails(mails), ("address", address), ("country", country), ("card", card),
        ("customer", who.external_id),
    }  # fmt: skip
    # An address that the request names may speak against it, never for it.
    keys = sorted({(kind, value) for kind, value in known | _of_mails({named}) if value})
    row = tx.one(
        "select * from weigh_v1(%(customer_id)s, %(currency)s, %(now)s, %(apart)s, %(card)s,"
        " %(kinds)s::text[], %(values)s::text[])",
        {
            "customer_id": who.uuid, "currency": amount.currency, "now": now,
            "apart": apart_from, "card": card, "kinds": [kind for kind, _ in keys],
            "values": [value for _, value in keys],
        },
    )  # fmt: skip
    assert row is not None
    lists = [
        Entry(action=action, kind=kind, value=value)
        for action, kind, value in row.pop("lists") or []
        if action != "allow" or (kind, value) in known
    ]
    chosen = outweighing(lists)
    customer_country = str(who.metadata.get("country") or "").upper()
    return Features(
        amount_minor=amount.minor,
        account_age_h=max(0, int((now - who.created_at).total_seconds()) // 3600),
        is_disposable_email=any(is_disposable(one.rpartition("@")[2]) for one in {*mails, named}),
        request_country=_country(country),
        card_country=_country(card_country),
        customer_country=_country(customer_country),
        listed=chosen.action if chosen else None,
        listed_by=f"{chosen.kind} {chosen.value}" if chosen else None,
        **row,
    )


def _of_mails(mails: Iterable[str]) -> set[tuple[str, str | None]]:
    parts = (("email", one) for one in mails)
    return {*parts, *(("email_domain", one.rpartition("@")[2]) for one in mails)}


@lru_cache(maxsize=1)
def _disposable() -> frozenset[str]:
    from disposable_email_domains import blocklist

    return frozenset(blocklist)


def is_disposable(domain: str) -> bool:
    """Whether addresses of this domain, or of one above it, live for minutes."""
    parts = domain.lower().split(".")
    return any(".".join(parts[start:]) in _disposable() for start in range(len(parts) - 1))


def _country(value: str | None) -> str | None:
    text = (value or "").upper()
    return text if _COUNTRY.fullmatch(text) else None


def _write(
    tx: Tx, now: datetime, customer_id: UUID, payment_id: UUID, found: Features, verdict: Verdict
) -> UUID:
    made = ids.new_owned(customer_id)
    tx.run(
        "insert into risk_assessments (customer_id, id, payment_id, score, decision, reasons,"
        " features, created_at) values (%(customer_id)s, %(id)s, %(payment_id)s, %(score)s,"
        " %(decision)s, %(reasons)s, %(features)s, %(now)s)",
        {
            "customer_id": customer_id, "id": made, "payment_id": payment_id,
            "score": verdict.score, "decision": verdict.decision, "now": now,
            "reasons": jsonb([asdict(r) for r in verdict.reasons]),
            "features": jsonb(found.as_json()),
        },
    )  # fmt: skip
    rules = [r.rule for r in verdict.reasons]
    emit_many(
        tx,
        [NewEvent(
            customer_id=customer_id, type=f"risk.{_WORDS[verdict.decision]}", subject_id=made,
            data={"payment_id": str(payment_id), "score": verdict.score, "rules": rules}, at=now,
        )],
    )  # fmt: skip
    return made


_WORDS = {"review": "review_needed", "block": "blocked", "allow": "allowed"}


def watch(env: Env, limit: int = 100) -> int:
    """Sweep: weigh payments that were paid once more, now that their card is known."""
    return handlers.drain(env, SINK, lambda event: _paid(env, event), limit=limit)


def _paid(env: Env, event: Event) -> None:
    if event.type != "payment.succeeded":
        return
    customer_id, payment_id = event.customer_id, event.subject_id
    who = customers.get(env, ids.show("customer", customer_id))
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        if payment is None:
            return
        detail: Mapping[str, Any] = payment.method_detail or {}
        found = _features(
            tx, now, who, Money(payment.amount_cents, payment.currency, minor=True), email=None,
            card=detail.get("fingerprint"), card_country=payment.country or detail.get("country"),
            address=None, country=None, apart_from=payment_id,
        )  # fmt: skip
        verdict = judge(
            found, review_from=env.settings.risk_review_score,
            block_from=env.settings.risk_block_score,
        )  # fmt: skip
        if verdict.decision == "allow" or _was_said(tx, customer_id, payment_id, verdict):
            return
        _write(tx, now, customer_id, payment_id, found, verdict)
        changes: dict[str, Any] = {"risk_score": verdict.score}
        if payment.review is None and payment.state in PAID_STATES:
            changes["review"] = "risk"
        attempts.advance(tx, now, [(payment, payment.state, changes)])


def _was_said(tx: Tx, customer_id: UUID, payment_id: UUID, verdict: Verdict) -> bool:
    """Whether an assessment of this payment was as strict and named the same rules."""
    rows = tx.all(
        "select decision, reasons from risk_assessments where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s",
        {"customer_id": customer_id, "payment_id": payment_id},
    )
    rules = {reason.rule for reason in verdict.reasons}
    return any(
        row["decision"] in ("block", verdict.decision)
        and rules <= {reason["rule"] for reason in row["reasons"]}
        for row in rows
    )


# People ------------------------------------------------------------------------------------------



def list_(
    env: Env, *, queue: bool = False, decision: str | None = None, customer_id: UUID | None = None,
    limit: int = 50, after: UUID | None = None,
) -> list[Assessment]:  # fmt: skip
    """Assessments, newest first. `queue`: those that wait for a person."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id, payment_id, score, decision, reasons, features, verdict,"
        " reviewed_by, reviewed_at, review_note, created_at from risk_assessments"
            " where (not %(queue)s or (decision = 'review' and verdict is null))"
            " and (%(decision)s::text is null or decision = %(decision)s)"
            " and (%(customer_id)s::uuid is null or customer_id = %(customer_id)s)"
            " and (%(after)s::uuid is null or (created_at, id) < (select created_at, id"
            "  from risk_assessments where customer_id = %(owner)s and id = %(after)s))"
            " order by created_at desc, id desc limit %(limit)s",
            {"queue": queue, "decision": decision, "customer_id": customer_id, "after": after,
             "owner": ids.customer_of(after) if after else None, "limit": limit},
        )  # fmt: skip
    return [Assessment(**row) for row in rows]


def get(env: Env, assessment_id: UUID) -> Assessment:
    """One assessment. Raises NotFound."""
    with env.db.read() as tx:
        return _read(tx, assessment_id)


def decide(env: Env, assessment_id: UUID, verdict: str, *, by: str, note: str | None = None
           ) -> Assessment:  # fmt: skip
    """A person accepts or refuses what was to be reviewed, once. A refused payment that was paid
    is refunded apart from this. Raises NotFound, Conflict, InvalidRequest."""
    if verdict not in ("accepted", "refused"):
        raise InvalidRequest("verdict is 'accepted' or 'refused'.", param="verdict")
    customer_id = ids.customer_of(assessment_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = _read(tx, assessment_id)
        if one.verdict == verdict:
            return one
        if one.verdict or one.decision != "review":
            raise Conflict("This assessment does not wait for a decision.")
        tx.run(
            "update risk_assessments set verdict = %(verdict)s, reviewed_by = %(by)s,"
            " reviewed_at = %(now)s, review_note = %(note)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"verdict": verdict, "by": by, "now": now, "customer_id": customer_id,
             "note": fields.optional_text(note, "note", most=1000), "id": assessment_id},
        )  # fmt: skip
        payment = one.payment_id and JoinedStore(tx.conn).get_many(
            [(customer_id, one.payment_id)]
        )[0]
        if payment and payment.review == "risk" and verdict == "accepted" and not _waits(tx, one):
            attempts.advance(tx, now, [(payment, payment.state, {"review": None})])
        emit_many(
            tx,
            [NewEvent(customer_id=customer_id, type="risk.reviewed", subject_id=assessment_id,
                      data={"verdict": verdict}, cause={"actor": by}, at=now)],
        )  # fmt: skip
        return _read(tx, assessment_id)


def _waits(tx: Tx, one: Assessment) -> bool:
    """Whether another assessment of the same payment has no verdict yet."""
    return bool(
        tx.value(
            "select exists (select from risk_assessments where customer_id = %(customer_id)s"
            " and payment_id = %(payment_id)s and decision = 'review' and verdict is null)",
            {"customer_id": one.customer_id, "payment_id": one.payment_id},
        )
    )


def _read(tx: Tx, assessment_id: UUID) -> Assessment:
    row = tx.one(
        "select customer_id, id, payment_id, score, decision, reasons, features, verdict,"
        " reviewed_by, reviewed_at, review_note, created_at from risk_assessments"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": ids.customer_of(assessment_id), "id": assessment_id},
    )
    if row is None:
        raise NotFound(f"No such assessment: {ids.show('assessment', assessment_id)}.")
    return Assessment(**row)


# Lists -------------------------------------------------------------------------------------------


def put_on_list(
    env: Env, kind: str, value: str, action: str, *, reason: str | None = None, by: str,
    expires_at: datetime | None = None,
) -> Listed:  # fmt: skip
    """Let a value decide from now on; a second time replaces the first."""
    if kind not in KINDS:
        raise InvalidRequest(f"A kind is one of {', '.join(KINDS)}.", param="kind")
    if action not in ACTIONS:
        raise InvalidRequest(f"An action is one of {', '.join(ACTIONS)}.", param="action")
    with env.db.transaction() as tx:
        row = tx.one(
            "insert into risk_lists (kind, value, action, reason, added_by, expires_at, created_at)"
            " values (%(kind)s, %(value)s, %(action)s, %(reason)s, %(by)s, %(until)s, %(now)s)"
            " on conflict (kind, value) do update set action = excluded.action,"
            " reason = excluded.reason, added_by = excluded.added_by,"
            " expires_at = excluded.expires_at, created_at = excluded.created_at"
            " returning kind, value, action, reason, added_by, expires_at, created_at",
            {
                "kind": kind, "value": _value(kind, value), "action": action, "by": by,
                "reason": fields.optional_text(reason, "reason", most=500),
                "until": expires_at, "now": env.now(),
            },
        )  # fmt: skip
        assert row is not None
        about = {"action": action, "expires_at": expires_at}
        trail.record(tx, env.now(), "risk_list.put", f"{kind} {row['value']}", about)
    return Listed(**row)


def take_off_list(env: Env, kind: str, value: str) -> None:
    """A value decides no more. Raises NotFound."""
    with env.db.transaction() as tx:
        gone = tx.run("delete from risk_lists where kind = %(kind)s and value = %(value)s",
                      {"kind": kind, "value": _value(kind, value)})  # fmt: skip
        if not gone:
            raise NotFound("This value is on no list.")
        trail.record(tx, env.now(), "risk_list.taken_off", f"{kind} {_value(kind, value)}")


def listed(env: Env, kind: str | None = None, limit: int = 500) -> list[Listed]:
    """What is on the lists."""
    with env.db.read() as tx:
        rows = tx.all(
            "select kind, value, action, reason, added_by, expires_at, created_at from risk_lists"
            " where %(kind)s::text is null or kind = %(kind)s order by kind, value limit %(limit)s",
            {"kind": kind, "limit": limit},
        )
    return [Listed(**row) for row in rows]


def _value(kind: str, value: str) -> str:
    text = fields.text(value.strip(), "value", most=320)
    if kind == "country":
        if _country(text) is None:
            raise InvalidRequest("A country has two letters.", param="value")
        return text.upper()
    return text.lower() if kind in ("email", "email_domain") else text
