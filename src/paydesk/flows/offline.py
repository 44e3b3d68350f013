"""Money that a person or a statement says has come: confirmed by hand, matched by its reference.

Each confirmation and each line of a statement is a fact of its own, recorded once through the
same door as a webhook.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from paydesk import causes, crash, ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotSupported, PaydeskError
from paydesk.flows import attempts, charges, heads, payments, statements, trail
from paydesk.flows.charges import Claim
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.payments import PaymentView
from paydesk.flows.statements import Line
from paydesk.logger import get_logger
from paydesk.providers.base import Charge
from paydesk.rules import fields
from paydesk.rules.money import Money
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

log = get_logger(__name__)

#: Our references, however banks cut and join them.
_REFERENCE = re.compile(
    r"PD[\s-]*([2-9A-HJ-NP-TW-Z]{4})[\s-]*([2-9A-HJ-NP-TW-Z]{4})[\s-]*([2-9A-HJ-NP-TW-Z]{4})",
    re.IGNORECASE,
)
#: So many lines of a statement are matched while the caller waits.
AT_ONCE = 500
_METHODS = ("cash", "bank_transfer", "natcash", "moncash", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """A line as kept. `problem` says why it was matched to nothing."""

    provider: str
    account: str
    line_ref: str
    booked_at: datetime
    amount_minor: int
    currency: str
    reference: str | None
    payer: str | None
    state: str
    customer_id: UUID | None
    payment_id: UUID | None
    problem: str | None
    decided_by: str | None
    import_name: str | None
    imported_by: str | None
    created_at: datetime

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency, minor=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a statement: all lines, those known from before, and of the new ones those
    that were matched, those that wait for a person, and those not looked at yet."""

    lines: int
    known: int
    matched: int
    unmatched: int
    waiting: int = 0


# By hand -----------------------------------------------------------------------------------------


def confirm(
    env: Env, customer_id: UUID, payment_id: UUID, *, by: str, amount: Money | None = None,
    reference: str | None = None, method: str | None = None, note: str | None = None,
) -> PaymentView:  # fmt: skip
    """A person says that money has come; without an amount all that is still asked.

    `reference` is the receipt's or the agent's number: the same one is the same money, and stands
    for one payment only. Less than was asked is recorded and its goods wait; more than was asked
    only where `amount` says so. Raises NotFound, NotSupported where the provider can be asked,
    Conflict where it is paid already.
    """
    told = fields.optional_text(reference, "reference", most=255)
    if method is not None and method not in _METHODS:
        raise InvalidRequest(f"method is one of {', '.join(_METHODS)}.", param="method")
    if amount is not None and amount.minor <= 0:
        raise InvalidRequest("amount must be above zero.", param="amount")
    _check_offline(env, _read(env, customer_id, payment_id))
    around = (causes.current() or {}).get("request_id")
    with (
        causes.by(by, "confirm", around, note=note),
        env.db.transaction(customer_id) as tx,
    ):
        payment = _found(tx, customer_id, payment_id)
        left = payment.amount_cents - payment.captured_cents
        if told is None and amount is not None and amount.minor != left:
            raise InvalidRequest("Other than the whole needs the receipt's number.",
                                 param="reference")  # fmt: skip
        fact = f"confirmed:{told}" if told else f"confirmed by hand:{payment.id}"
        money = amount or Money(max(left, 0), payment.currency, minor=True)
        claim = _claim(payment, money, fact, method or _usual_method(payment))
        if told:
            _take_receipt(tx, payment, told)
        known = _recorded(tx, claim)
        if known is None:
            if left <= 0 and amount is None:
                raise Conflict("This payment is paid already.")
            _lay(env, tx, claim)
        elif amount is not None and known != amount:
            raise Conflict(f"{known} was recorded for this receipt.", param="amount")
    return payments.get(env, customer_id, payment_id)


def _claim(payment: ServicePayment, money: Money, fact: str, method: str) -> Claim:
    charge = Charge(
        ref=payment.session_id or payment.id, session_ref=payment.session_id, status="succeeded",
        amount=money, fact=fact, method=payment.method or method, account=payment.provider_account,
        livemode=payment.livemode, ended=True,
    )  # fmt: skip
    return Claim(
        customer_id=payment.customer_id, payment_id=payment.key[1], provider=payment.provider,
        account=payment.provider_account, charge=charge, path="admin", proof=True,
        version=payment.version,
    )  # fmt: skip


def _recorded(tx: Tx, claim: Claim) -> Money | None:
    """What was recorded under this fact before."""
    row = tx.one(
        "select amount, asset from transfers where customer_id = %(customer_id)s"
        " and request_key = %(key)s",
        {"customer_id": claim.customer_id, "key": claim.fact_key},
    )
    return Money(row["amount"], row["asset"], minor=True) if row else None


def _lay(env: Env, tx: Tx, claim: Claim) -> None:
    """Record money in the caller's transaction, which holds the customer's head."""
    now = heads.decide(tx, env.now(), claim.customer_id)
    outcomes, _ = charges.apply(tx, now, [claim], env.settings)
    if outcomes != [charges.DONE]:
        raise Conflict(f"This money cannot be recorded on the payment: {outcomes[0]}.")


def _usual_method(payment: ServicePayment) -> str:
    return "natcash" if payment.provider == "natcash" else "other"


def _take_receipt(tx: Tx, payment: ServicePayment, number: str) -> None:
    """A number on a receipt that a person of the staff has seen stands for one payment."""
    key = (payment.provider, payment.provider_account, f"receipt:{number}")
    attempts.add_refs(tx, [(*key, *payment.key)])
    owner = tx.one(
        "select customer_id, object_id from provider_refs where provider = %(provider)s"
        " and account = %(account)s and ref = %(ref)s",
        {"provider": key[0], "account": key[1], "ref": key[2]},
    )
    if owner is None or (owner["customer_id"], owner["object_id"]) != payment.key:
        raise Conflict("This reference stands for another payment.", param="reference")


def submit_reference(env: Env, customer_id: UUID, payment_id: UUID, reference: str) -> PaymentView:
    """The payer says under which number of the agent the money was sent; the first word holds.

    Nothing is believed and nothing matched by it: whoever matches the agent's statement is shown
    which payment it was given for.
    """
    told = fields.text(reference.strip(), "reference", most=100)
    _check_offline(env, _read(env, customer_id, payment_id))
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        fresh = _found(tx, customer_id, payment_id)
        if fresh.provider_payment_id not in (None, told):
            raise Conflict("A reference was given for this payment before.", param="reference")
        if fresh.provider_payment_id is None:
            attempts.advance(tx, now, [(fresh, fresh.state, {"provider_payment_id": told})])
            emit_many(
                tx,
                [NewEvent(customer_id=customer_id, type="payment.reference_given",
                          subject_id=payment_id, data={"reference": told}, at=now)],
            )  # fmt: skip
    return payments.get(env, customer_id, payment_id)


def _check_offline(env: Env, payment: ServicePayment) -> None:
    if "offline" not in env.providers[payment.provider].can:
        raise NotSupported(f"{payment.provider} is asked itself; nobody confirms its payments.")


def _read(env: Env, customer_id: UUID, payment_id: UUID) -> ServicePayment:
    with env.db.read() as tx:
        return _found(tx, customer_id, payment_id)


def _found(tx: Tx, customer_id: UUID, payment_id: UUID) -> ServicePayment:
    payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
    if payment is None:
        raise NotFound(f"No such payment: {ids.show('payment', payment_id)}.")
    return payment


# By statement ------------------------------------------------------------------------------------


def import_statement(
    env: Env, provider: str, content: bytes, *, by: str, name: str | None = None,
    currency: str | None = None,
) -> Imported:  # fmt: skip
    """Keep a statement's lines and match what can be matched. Importing it again, or another that
    overlaps it, only goes on where this was broken off. Of a long one the sweep does the rest.

    Raises InvalidRequest, and keeps nothing, where a line is odd.
    """
    known = env.providers[provider]
    if "offline" not in known.can:
        raise NotSupported(f"{provider} is asked itself; it needs no statements.")
    read = statements.read(content, currency=currency)
    fresh = _keep(env, provider, known.account, read, by, name)
    matched = sum(_match(env, one, by) for one in fresh[:AT_ONCE])
    waiting = len(fresh) - len(fresh[:AT_ONCE])
    with env.db.transaction() as tx:
        about = {"lines": len(read), "new": len(fresh), "matched": matched}
        subject = f"{provider} {name or ''}".strip()
        trail.record(tx, env.now(), "statement.imported", subject, about, actor=by)
    match_waiting(env)
    return Imported(lines=len(read), known=len(read) - len(fresh), matched=matched,
                    unmatched=len(fresh) - matched - waiting, waiting=waiting)  # fmt: skip


def match_waiting(env: Env, limit: int = 200) -> int:
    """Sweep: lines that nobody has looked at, as after an import that was broken off."""
    with env.db.read() as tx:
        rows = tx.all(
            "select provider, account, line_ref, booked_at, amount_minor, currency, reference,"
            " payer, state, customer_id, payment_id, problem, decided_by, import_name, imported_by,"
            " created_at from statement_lines where state = 'unmatched' and problem is null"
            " order by created_at limit %(limit)s",
            {"limit": limit},
        )
    for row in rows:
        line = StatementLine(**row)
        _match(env, line, line.imported_by or "import")
    return len(rows)


def _keep(
    env: Env, provider: str, account: str, read: Sequence[Line], by: str, name: str | None
) -> list[StatementLine]:
    if not read:
        return []
    with env.db.transaction() as tx:
        rows = tx.all(
            "insert into statement_lines (provider, account, line_ref, booked_at, amount_minor,"
            " currency, reference, payer, state, raw, import_name, imported_by, created_at)"
            " select %(provider)s, %(account)s, n.ref, n.booked_at, n.amount, n.currency,"
            "  n.reference, n.payer, 'unmatched', n.raw, %(name)s, %(by)s, %(now)s"
            " from unnest(%(refs)s::text[], %(booked)s::timestamptz[], %(amounts)s::bigint[],"
            "  %(currencies)s::text[], %(references)s::text[], %(payers)s::text[],"
            "  %(raws)s::jsonb[]) as n(ref, booked_at, amount, currency, reference, payer, raw)"
            " on conflict do nothing returning provider, account, line_ref, booked_at,"
            "  amount_minor, currency, reference, payer, state, customer_id, payment_id, problem,"
            "  decided_by, import_name, imported_by, created_at",
            {
                "provider": provider, "account": account, "by": by, "now": env.now(),
                "name": fields.optional_text(name, "name", most=255),
                "refs": [one.ref for one in read], "booked": [one.booked_at for one in read],
                "amounts": [one.amount_minor for one in read],
                "currencies": [one.currency for one in read],
                "references": [one.reference for one in read],
                "payers": [one.payer for one in read],
                "raws": [jsonb(one.raw) for one in read],
            },
        )  # fmt: skip
    return [StatementLine(**row) for row in rows]


def _match(env: Env, line: StatementLine, by: str) -> bool:
    """Find the payment that a line is for and record it; why not stands on the line."""
    try:
        key = _payment_of(env, line)
        if key is None:
            raise Conflict("No reference of a payment stands in it.")
        _pay(env, line, key, by, only_unpaid=True)
    except PaydeskError as exc:
        _say(env, line, problem=exc.detail)
        return False
    except psycopg.Error as exc:  # The database was away: the sweep looks at it again.
        log.warning("a line was not matched", line=line.line_ref, error=repr(exc)[:300])
        return False
    return True


def _payment_of(env: Env, line: StatementLine) -> tuple[UUID, UUID] | None:
    """By our own reference, wherever it stands. What payers told is for the person who decides:
    numbers can be guessed, and overheard."""
    said = line.reference or ""
    wanted = {f"PD-{a}-{b}-{c}".upper() for a, b, c in _REFERENCE.findall(said)}
    with env.db.read() as tx:
        rows = tx.all(
            "select distinct r.customer_id, r.object_id as id"
            " from unnest(%(refs)s::text[]) as k(ref)"
            " cross join lateral (select customer_id, object_id from provider_refs"
            "  where provider = %(provider)s and account = %(account)s and ref = k.ref limit 1) r",
            {"refs": sorted(wanted)[:200], "provider": line.provider, "account": line.account},
        )
        told = [] if rows else _who_told(tx, line)
    if len(rows) > 1:
        raise Conflict("It could be for several payments.")
    if told:
        shown = " and ".join(ids.show("payment", row["id"]) for row in told)
        raise Conflict(f"The payer of {shown} gave this number: match it where that is true.")
    return (rows[0]["customer_id"], rows[0]["id"]) if rows else None


def _who_told(tx: Tx, line: StatementLine) -> list[dict[str, Any]]:
    """Payments whose payers named an agent's line by its number."""
    if line.provider != "natcash":
        return []
    return tx.all(
        "select id from payments where provider = 'natcash' and provider_account = %(account)s"
        " and provider_payment_ref = any(%(numbers)s) and asked_minor = %(amount)s"
        " and currency = %(currency)s and captured_minor = 0 limit 2",
        {"account": line.account, "numbers": [(line.reference or "").strip(), line.line_ref],
         "amount": line.amount_minor, "currency": line.currency},
    )  # fmt: skip


def _pay(
    env: Env, line: StatementLine, key: tuple[UUID, UUID], by: str, *, only_unpaid: bool
) -> None:
    """Take the line and record its money, in one transaction: a line pays one payment, once."""
    method = "natcash" if line.provider == "natcash" else "bank_transfer"
    around = (causes.current() or {}).get("request_id")
    with (
        causes.by(by, "statement", around, line=line.line_ref),
        env.db.transaction(key[0]) as tx,
    ):
        payment = _found(tx, *key)
        if payment.currency != line.currency:
            raise Conflict(f"The payment is in {payment.currency.upper()}.")
        left = payment.amount_cents - payment.captured_cents
        # What completes a part to the cent is the rest of it; all else a person looks at.
        if only_unpaid and payment.captured_cents and line.amount_minor != left:
            raise Conflict(
                "The payment was paid before: this came once more." if left <= 0
                else f"A part was paid before, and this is not the rest: {_money(payment, left)}."
            )
        if not only_unpaid and payment.captured_cents >= payment.amount_cents:
            raise Conflict("This payment is paid already.", param="payment")
        taken = tx.run(
            "update statement_lines set state = 'matched', problem = null,"
            " customer_id = %(customer_id)s, payment_id = %(payment_id)s, decided_by = %(by)s"
            " where provider = %(provider)s and account = %(account)s and line_ref = %(ref)s"
            " and state = 'unmatched'",
            {
                "customer_id": key[0], "payment_id": key[1], "by": by, "provider": line.provider,
                "account": line.account, "ref": line.line_ref,
            },
        )  # fmt: skip
        if not taken:
            raise Conflict("Somebody has decided about this line already.")
        crash.at("statement_line_taken")
        _lay(env, tx, _claim(payment, line.amount, f"line:{line.line_ref}", method))


def _money(payment: ServicePayment, minor: int) -> Money:
    return Money(minor, payment.currency, minor=True)


def match(env: Env, provider: str, line_ref: str, payment: str, *, by: str) -> StatementLine:
    """A person says which payment a line is for. Raises NotFound, Conflict."""
    line = _line(env, provider, line_ref)
    with env.db.read() as tx:
        key = payments.find(env, tx, payment)
        found = _found(tx, *key)
    if line.state == "matched" and (line.customer_id, line.payment_id) == key:
        return line
    if line.state != "unmatched":
        raise Conflict(f"This line is {line.state} already.")
    if found.provider != provider:
        raise Conflict(f"This payment is {found.provider}'s.", param="payment")
    _pay(env, line, key, by, only_unpaid=False)
    return _line(env, provider, line_ref)


def ignore(env: Env, provider: str, line_ref: str, reason: str, *, by: str) -> StatementLine:
    """A person says that a line is for nothing here. Raises NotFound, Conflict."""
    line = _line(env, provider, line_ref)
    if line.state == "matched":
        raise Conflict("This line was matched: refund its payment instead.")
    told = fields.text(reason, "reason", most=500)
    if not _say(env, line, state="ignored", problem=told, by=by):
        raise Conflict("Somebody has decided about this line already.")
    return _line(env, provider, line_ref)


def lines(
    env: Env, *, state: str | None = None, provider: str | None = None, limit: int = 100,
    after: str | None = None,
) -> list[StatementLine]:  # fmt: skip
    """Lines, newest first. `after`: the `line_ref` already seen."""
    with env.db.read() as tx:
        rows = tx.all(
            "select provider, account, line_ref, booked_at, amount_minor, currency, reference,"
            " payer, state, customer_id, payment_id, problem, decided_by, import_name, imported_by,"
            " created_at from statement_lines"
            " where (%(state)s::text is null or state = %(state)s)"
            " and (%(provider)s::text is null or provider = %(provider)s)"
            " and (%(after)s::text is null or (created_at, line_ref) < (select created_at, line_ref"
            "  from statement_lines where line_ref = %(after)s limit 1))"
            " order by created_at desc, line_ref desc limit %(limit)s",
            {"state": state, "provider": provider, "after": after, "limit": limit},
        )
    return [StatementLine(**row) for row in rows]


def _line(env: Env, provider: str, line_ref: str) -> StatementLine:
    with env.db.read() as tx:
        row = tx.one(
            "select provider, account, line_ref, booked_at, amount_minor, currency, reference,"
            " payer, state, customer_id, payment_id, problem, decided_by, import_name, imported_by,"
            " created_at from statement_lines"
            " where provider = %(provider)s and account = %(account)s"
            " and line_ref = %(ref)s",
            {
                "provider": provider, "account": env.providers[provider].account,
                "ref": line_ref,
            },
        )  # fmt: skip
    if row is None:
        raise NotFound(f"No such line: {line_ref[:64]!r}.")
    return StatementLine(**row)


def _say(
    env: Env, line: StatementLine, *, state: str = "unmatched", problem: str | None = None,
    by: str | None = None,
) -> bool:
    """Write on a line that was not matched; whether it was not."""
    with env.db.transaction() as tx:
        return bool(
            tx.run(
                "update statement_lines set state = %(state)s, problem = %(problem)s,"
                " decided_by = %(by)s where provider = %(provider)s and account = %(account)s"
                " and line_ref = %(ref)s and state <> 'matched'",
                {
                    "state": state, "problem": problem, "by": by, "provider": line.provider,
                    "account": line.account, "ref": line.line_ref,
                },
            )
        )  # fmt: skip
