"""Credits come in: grants in sets, debts repaid first, and batches that end are booked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.db.together import in_sets
from paydesk.env import Env
from paydesk.errors import Busy, CreditLimitExceeded, IdempotencyKeyReused, InvalidRequest
from paydesk.flows import heads, ledger
from paydesk.flows.ledger import BatchRow, Entry, Event
from paydesk.rules.credits import SWEEP_EXPIRIES, check_amount, take_at
from paydesk.rules.ledger import CREDIT, KINDS
from paydesk.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Credits to give. A grant of a payment happens once per payment, kind and reason; another
    once per `request_key`, where it has one. `expires_at` None: never. Cost in minor units."""

    customer_id: UUID
    amount: int
    kind: str
    expires_at: datetime | None
    txn_id: UUID | None = None
    payment_id: UUID | None = None
    source_id: UUID | None = None
    cost_minor: int | None = None
    currency: str | None = None
    reason: str = "CREDIT_GRANT"
    request_key: UUID | None = None
    request_hash: int | None = None
    note: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """`same`: it was granted before. `over_limit`: the balance is now above the highest allowed.
    `repaid` credits of the grant went to a debt; `balance` is the total after it."""

    batch_id: UUID
    transfer_id: UUID
    txn_id: UUID
    same: bool
    over_limit: bool
    amount: int
    repaid: int
    balance: int


@in_sets()
def grant(
    tx: Tx, grants: Sequence[Grant], now: datetime, *, settings: Settings | None = None
) -> list[Granted]:
    """Give credits to customers whose heads are locked: many at once in a few statements.

    Money that was taken is never refused here: above MAX_CREDIT_BALANCE a grant is made and
    flagged. What a customer owes is repaid first, oldest batch first. Raises
    IdempotencyKeyReused where a key stands for another grant.
    """
    rules = settings or Settings()
    wanted = [_with_key(one) for one in grants]
    origins = _origins(wanted)
    made = _stored(tx, wanted)
    fresh = [i for i, origin in enumerate(origins) if origin == i and i not in made]
    if fresh:
        made |= _give(tx, [(i, wanted[i]) for i in fresh], now, rules)
    return [
        made[origin] if origin == i else replace(made[origin], same=True)
        for i, origin in enumerate(origins)
    ]


def _give(
    tx: Tx, fresh: list[tuple[int, Grant]], now: datetime, rules: Settings
) -> dict[int, Granted]:
    customers = list(dict.fromkeys(one.customer_id for _, one in fresh))
    settle(tx, customers, now)
    books, moves = Books(tx, customers), Moves(now)
    made: dict[int, Granted] = {}
    for index, one in fresh:
        at = ledger.last_instant(tx, one.customer_id, now)
        row = _batch(one, moves.new_batch_id(one.customer_id), at, rules)
        entry = _entry(one, row.id, at)
        assert entry.id is not None
        moves.rows.append(row)
        moves.entries.append(entry)
        repaid = books.take_in(moves, row, entry)
        balance = books.credits(one.customer_id)
        made[index] = Granted(
            batch_id=row.id, transfer_id=entry.id, txn_id=entry.txn_id, same=False,
            over_limit=balance > rules.max_credit_balance, amount=one.amount, repaid=repaid,
            balance=balance,
        )  # fmt: skip
        moves.events.append(_granted_event(one, made[index]))
    moves.write(tx)
    return made


def grant_now(
    env: Env,
    customer_id: UUID,
    amount: int,
    *,
    kind: str = "promotional",
    expires_at: datetime | None = None,
    reason: str = "CREDIT_GRANT",
    request_key: UUID | None = None,
    request_hash: int | None = None,
    note: str | None = None,
    reference: str | None = None,
    actor: str | None = None,
) -> Granted:
    """Give credits by hand. Raises CreditLimitExceeded, InvalidRequest, IdempotencyKeyReused."""
    check_amount(amount)
    if kind not in KINDS:
        raise InvalidRequest(f"kind must be one of {', '.join(KINDS)}.", param="kind")
    wanted = Grant(
        customer_id=customer_id, amount=amount, kind=kind, expires_at=expires_at, reason=reason,
        request_key=request_key, request_hash=request_hash, reference=reference,
        note=note or (f"by {actor}" if actor else None),
    )  # fmt: skip
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        if expires_at is not None and expires_at <= ledger.last_instant(tx, customer_id, now):
            raise InvalidRequest("expires_at lies in the past.", param="expires_at")
        granted = grant(tx, [wanted], now, settings=env.settings)[0]
        if granted.over_limit and not granted.same:
            limit = env.settings.max_credit_balance
            before = granted.balance - amount + granted.repaid
            raise CreditLimitExceeded(
                f"{amount} more credits would exceed the highest balance of {limit}.",
                limit=limit, balance=before,
            )  # fmt: skip
        return granted


def settle(tx: Tx, customers: Iterable[UUID], now: datetime) -> None:
    """Book every batch that has ended by now, for customers whose heads are locked."""
    for at, some in ledger.by_instant(tx, customers, now):
        rows = tx.all(
            "select customer_id from books_v1(%(customers)s::uuid[], 1::smallint, 'CREDIT',"
            " %(now)s) where is_due",
            {"customers": list(some), "now": at},
        )
        for row in rows:
            while expire(tx, row["customer_id"], at, SWEEP_EXPIRIES)[1]:
                pass


def expire(tx: Tx, customer_id: UUID, now: datetime, limit: int) -> tuple[int, bool]:
    """Book at most `limit` ended batches of a customer, soonest first: how many, and are more due.

    The head is locked.
    """
    tx.settle()
    row = tx.one(
        "select booked, more from expire_v1(%(customer_id)s, %(now)s, %(limit)s)",
        {"customer_id": customer_id, "limit": limit,
         "now": ledger.last_instant(tx, customer_id, now)},
    )  # fmt: skip
    assert row is not None
    return row["booked"], row["more"]


def expire_due(env: Env, limit: int = 100) -> int:
    """Book ended batches of at most `limit` customers; answers how many batches. A sweep: what it
    has not reached yet is not spendable either."""
    now = env.now()
    with env.db.read() as tx:
        rows = tx.all(
            "select distinct d.customer_id from (select customer_id from batches"
            " where open and clock_id is null and expires_at <= %(now)s"
            " order by expires_at limit %(limit)s) d order by d.customer_id",
            {"now": now, "limit": limit},
        )
    booked = 0
    for row in rows:
        # A customer who is held elsewhere is left to the next sweep.
        with suppress(Busy):
            booked += expire_of(env, row["customer_id"])
    return booked


def expire_of(env: Env, customer_id: UUID) -> int:
    """Book the ended batches of one customer, at most so many; answers how many."""
    with env.db.transaction(customer_id) as tx:
        return expire(tx, customer_id, env.now(), SWEEP_EXPIRIES)[0]


@dataclass(slots=True)
class Moves:
    """What one transaction will write, gathered first and written in a few statements."""

    now: datetime
    rows: list[BatchRow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    draws: list[tuple[UUID, UUID, UUID, int]] = field(default_factory=list)
    owes: list[tuple[UUID, UUID, int]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    last_batch: dict[UUID, UUID] = field(default_factory=dict)

    def new_batch_id(self, customer_id: UUID) -> UUID:
        """An id above those of this customer's other new batches: batches of one age are taken in
        order of their ids, which is then the order in which they were made."""
        made, last = ids.new_owned(customer_id), self.last_batch.get(customer_id)
        if last is not None and made <= last:
            made = UUID(int=last.int + 1)
        self.last_batch[customer_id] = made
        return made

    def write(self, tx: Tx) -> None:
        ledger.open_batches(tx, self.rows)
        ledger.post(tx, self.entries)
        ledger.draw(tx, self.draws)
        ledger.owe(tx, self.owes)
        ledger.emit(tx, self.now, self.events)


class Books:
    """Balances and debts of some customers while a set of changes is worked out."""

    def __init__(self, tx: Tx, customers: list[UUID]) -> None:
        self._credits = ledger.balances(tx, customers, "credits")
        debts = ledger.balances(tx, customers, "debt")
        self._owed: dict[UUID, list[tuple[UUID, int]]] = {}
        for one in customers:
            if debts[one] < 0:
                rows = tx.all(
                    "select id, owed from batches where customer_id = %(customer_id)s"
                    " and owed > 0 order by granted_at, id",
                    {"customer_id": one},
                )
                self._owed[one] = [(row["id"], row["owed"]) for row in rows]

    def credits(self, customer_id: UUID) -> int:
        """The balance so far."""
        return self._credits[customer_id]

    def add(self, customer_id: UUID, amount: int) -> int:
        """Change the balance; answers the new one."""
        self._credits[customer_id] += amount
        return self._credits[customer_id]

    def take_in(self, moves: Moves, row: BatchRow, entry: Entry) -> int:
        """Count a new batch in, after what is owed on older batches, oldest first, was repaid
        from it. Answers how much that was."""
        left = row.amount
        still: list[tuple[UUID, int]] = []
        for batch_id, owed in self._owed.get(row.customer_id, ()):
            part = min(owed, left)
            left -= part
            if owed > part:
                still.append((batch_id, owed - part))
            if part:
                back = _repayment(entry, batch_id, part)
                assert back.id is not None
                moves.entries.append(back)
                moves.draws.append((row.customer_id, back.id, row.id, part))
                moves.owes.append((row.customer_id, batch_id, -part))
        if row.customer_id in self._owed:
            self._owed[row.customer_id] = still
        self.add(row.customer_id, left)
        return row.amount - left


def _with_key(one: Grant) -> Grant:
    check_amount(one.amount)
    if one.request_key is None and one.payment_id is not None:
        key = ids.request_key("grant", str(one.payment_id), one.kind, one.reason)
        one = replace(one, request_key=key)
    if one.request_key is not None and one.request_hash is None:
        made = ledger.hash_of("grant", one.amount, one.kind, one.payment_id, one.reason)
        one = replace(one, request_hash=made)
    return one


def _origins(wanted: Sequence[Grant]) -> list[int]:
    """For each grant the place of the first one with the same customer and key."""
    first: dict[tuple[UUID, UUID], int] = {}
    origins: list[int] = []
    for index, one in enumerate(wanted):
        origin = index
        if one.request_key is not None:
            origin = first.setdefault((one.customer_id, one.request_key), index)
            if wanted[origin].request_hash != one.request_hash:
                raise IdempotencyKeyReused("This key stands for another grant.")
        origins.append(origin)
    return origins


def _stored(tx: Tx, wanted: Sequence[Grant]) -> dict[int, Granted]:
    """Grants that were made before, by their place in the list."""
    keys = [(one.customer_id, one.request_key) for one in wanted if one.request_key]
    if not keys:
        return {}
    rows = tx.all(
        "select * from known_v1(%(customers)s::uuid[], %(keys)s::uuid[])",
        {"customers": [k[0] for k in keys], "keys": [k[1] for k in keys]},
    )
    found = {keys[row["i"] - 1]: row for row in rows}
    answer: dict[int, Granted] = {}
    for index, one in enumerate(wanted):
        row = found.get((one.customer_id, one.request_key)) if one.request_key else None
        if row is None:
            continue
        if row["request_hash"] != one.request_hash:
            raise IdempotencyKeyReused("This key stands for another grant.")
        answer[index] = Granted(
            batch_id=row["subject_id"], transfer_id=row["id"], txn_id=row["txn_id"], same=True,
            over_limit=False, amount=row["amount"], repaid=0, balance=row["credit_after"],
        )  # fmt: skip
    return answer


def _batch(one: Grant, batch_id: UUID, at: datetime, rules: Settings) -> BatchRow:
    return BatchRow(
        customer_id=one.customer_id, id=batch_id, kind=one.kind,
        amount=one.amount, take_at=take_at(rules.credit_order, at, one.expires_at), granted_at=at,
        expires_at=one.expires_at, payment_id=one.payment_id, source_id=one.source_id,
        cost_minor=one.cost_minor, currency=one.currency,
    )  # fmt: skip


def _entry(one: Grant, batch_id: UUID, at: datetime) -> Entry:
    made = ids.new_owned(one.customer_id)
    return Entry(
        id=made, customer_id=one.customer_id, debit="issued", credit="credits", asset=CREDIT,
        amount=one.amount, reason=one.reason, txn_id=one.txn_id or made, subject_id=batch_id,
        request_key=one.request_key, request_hash=one.request_hash, note=one.note,
        reference=one.reference, effective_at=at,
    )  # fmt: skip


def _repayment(entry: Entry, batch_id: UUID, part: int) -> Entry:
    """Credits of a fresh grant that go to what is owed on an older batch."""
    return Entry(
        id=ids.new_owned(entry.customer_id), customer_id=entry.customer_id, debit="credits",
        credit="debt", asset=CREDIT, amount=part, reason="CREDIT_USAGE", txn_id=entry.txn_id,
        subject_id=batch_id, note="debt repaid", effective_at=entry.effective_at,
    )  # fmt: skip


def _granted_event(one: Grant, granted: Granted) -> Event:
    return Event(
        customer_id=one.customer_id, type="credits.granted", subject_id=granted.transfer_id,
        data={
            "amount": one.amount, "balance": granted.balance, "kind": one.kind,
            "transfer_id": granted.transfer_id, "batch_id": granted.batch_id,
            "payment_id": one.payment_id, "reason": one.reason, "repaid": granted.repaid,
            "expires_at": one.expires_at.isoformat() if one.expires_at else None,
            "over_limit": granted.over_limit,
        },
    )  # fmt: skip
