"""How stored events are applied: together where they speak for themselves, and where a provider
has to be asked, once for all that wait for the same answer."""

from __future__ import annotations

import contextvars
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from paydesk import causes, telemetry
from paydesk.env import Env
from paydesk.errors import PaydeskError, ProviderRefused, ProviderUnavailable, Unavailable
from paydesk.flows import charges, inbox_rows
from paydesk.flows.charges import ASK, DONE, FOREIGN, STALE, UNKNOWN, Claim
from paydesk.flows.inbox_rows import APPLY, GROUP, Key, Row, State, Taken
from paydesk.flows.sweeps import fell_apart
from paydesk.logger import get_logger
from paydesk.providers.base import ProviderEvent
from paydesk.providers.circuit import SlowDown, patient
from paydesk.rules.payments import is_ours, owner_in_metadata

log = get_logger(__name__)

#: How long an event may come before we know of what it is about; after it, what bears no id of
#: ours is another program's on the same account.
STRANGE_S = 600
#: How long one event waits for its customer's lock, and all of a group together.
LOCK_WAIT_S, LOCK_WAITS_S = 1.0, 3.0
#: Even when that is used up.
LEAST_LOCK_WAIT_S = 0.05
#: So many customers' events are asked about at once.
ASKERS = 4
#: How long one call waits where the provider asks to slow down; then the event waits.
PATIENCE_S = 5.0

#: What is asked where an event does not say of which payment it is.
WHOSE = {"refund.updated": "fetch_refund", "dispute.updated": "fetch_dispute"}

_HANDED: State = ("handed", None)
_REASONS = {
    UNKNOWN: "It belongs to no payment that is known here.",
    FOREIGN: "Its references, account or mode are not its payment's.",
    STALE: "The payment changes too often.",
}


class _Wait(Exception):
    """The event cannot be applied now; the message says why."""


class _Alone(Exception):
    """The provider does not have what several events are about."""


@dataclass(slots=True)
class Work:
    """One group of events under way.

    `may_ask`: providers may be asked; else what needs it is left due. `is_taken`: the rows were
    taken up from the database, where another may have settled them since. `slowed`: providers that
    asked to slow down, and for how many seconds: they are asked nothing more. `marked`: the states
    that are written already.
    """

    env: Env
    path: str
    may_ask: bool = True
    is_taken: bool = False
    slowed: dict[str, int] = field(default_factory=dict)
    others: list[Row] = field(default_factory=list)
    marked: dict[Key, str] = field(default_factory=dict)
    wait_s: Callable[[], float] = lambda: LOCK_WAIT_S


def apply_rows(
    env: Env, rows: Sequence[Row], path: str, known: Mapping[Key, State] | None = None, *,
    may_ask: bool = True, is_taken: bool = False,
) -> list[str]:  # fmt: skip
    """Apply events in groups and write on each row what became of it; answers their states.

    `known`: what is settled already, and only has to be written.
    """
    states = dict(known or {})
    others: list[Row] = []
    marked: dict[Key, str] = {}
    todo = [row for row in rows if row.key not in states]
    for start in range(0, len(todo), GROUP):
        group = [row for row in todo[start : start + GROUP] if row.key not in states]
        if not group:
            continue
        work = Work(env, path, may_ask, is_taken, others=others, marked=marked)
        if not is_taken:
            work.wait_s = _waits()
        # Several events in one transaction have the provider in common; each claim names its own.
        named = {"event": group[0].event.id} if len(group) == 1 else {}
        around = causes.current() or {}
        with causes.by(
            f"provider:{group[0].provider}", path, around.get("request_id"), **named
        ), telemetry.span(
            "webhook apply", kind="consumer", paydesk_provider=group[0].provider,
            paydesk_group_size=len(group),
        ):  # fmt: skip
            states |= _apply_group(work, group)
    rest = [row for row in (*rows, *others) if row.key not in marked]
    marked |= zip((row.key for row in rest), inbox_rows.mark(env, rest, states), strict=True)
    return [marked[row.key] for row in rows]


def _apply_group(work: Work, rows: Sequence[Row]) -> dict[Key, State]:
    """What became of each; one transaction where all goes well, else one for each."""
    env = work.env
    _find_owners(env, rows)
    states = _ask_whose(work, rows)
    ready = []
    for row in rows:
        if row.key in states:
            continue
        if (problem := _unfit(env, row)) is not None:
            states[row.key] = ("parked", problem)
        elif row.event.kind == "ignored":
            states[row.key] = ("done", None)
        elif row.owner is None:
            states[row.key] = _strange(env, row)
        elif row.event.kind in APPLY and not work.may_ask:
            states[row.key] = _HANDED
        else:
            ready.append(row)
    claims = {row.key: claim for row in ready
              if (claim := _claim(env, row, work.path)) is not None}  # fmt: skip
    outcomes: dict[Key, str | None] = {}
    if len(claims) > 1:
        try:
            found = charges.settle_free(env, list(claims.values()))
            outcomes = dict(zip(claims, found, strict=True))
        except Exception as exc:  # One event's fault must not stop the others: each goes alone.
            fell_apart("events", exc, len(claims))
    for found in _each_customer(work, ready, outcomes):
        states |= found
    return states


# Customer by customer --------------------------------------------------------------------------


def _each_customer(
    work: Work, rows: Sequence[Row], outcomes: Mapping[Key, str | None]
) -> list[dict[Key, State]]:
    """Finish the rows, one customer's after the other; several customers' at once where providers
    are asked."""
    asking: dict[Any, list[Row]] = {}
    plain = []
    # Those whose customer is held elsewhere come last: they wait.
    for row in sorted(rows, key=lambda row: outcomes.get(row.key) is None):
        if row.asks or outcomes.get(row.key) == ASK:
            assert row.owner is not None
            asking.setdefault(row.owner[0], []).append(row)
        else:
            plain.append(row)
    units = list(asking.values())
    if not units:
        return [_some(work, plain, outcomes)]
    found = [_unit(work, plain, outcomes)]
    if len(units) < 2:
        return found + [_unit(work, unit, outcomes) for unit in units]
    with ThreadPoolExecutor(min(ASKERS, len(units)), "paydesk-inbox-ask") as pool:
        begun = [
            pool.submit(contextvars.copy_context().run, _unit, work, unit, outcomes)
            for unit in units
        ]
        return found + [one.result() for one in begun]


def _unit(
    work: Work, rows: Sequence[Row], outcomes: Mapping[Key, str | None]
) -> dict[Key, State]:
    """Finish these rows and mark them at once: they wait for no other's provider."""
    mine = replace(work, others=[])
    states = _some(mine, rows, outcomes)
    all_rows = [*rows, *mine.others]
    try:
        marks = inbox_rows.mark(work.env, all_rows, states)
    except Unavailable as exc:  # They are marked with the rest of the group, where that can be.
        log.warning("events are not marked yet", error=repr(exc)[:300])
    else:
        work.marked.update(zip((row.key for row in all_rows), marks, strict=True))
    work.others += mine.others
    return states


def _some(
    work: Work, rows: Sequence[Row], outcomes: Mapping[Key, str | None]
) -> dict[Key, State]:
    states: dict[Key, State] = {}
    for row in rows:
        if row.key in states:
            continue
        with causes.also(event=row.event.id), patient(PATIENCE_S if work.is_taken else 0.0):
            if row.about is None or not work.may_ask:
                states[row.key] = _guarded(
                    work, row, lambda row=row: _one(work, row, outcomes.get(row.key))
                )
            else:
                same = [one for one in rows if one.about == row.about
                        and (one.provider, one.account) == (row.provider, row.account)]  # fmt: skip
                states |= _together(work, same)
    return states


def _guarded(work: Work, row: Row, do: Callable[[], State]) -> State:
    """What `do` answers; what it raises as the state that the event is left in."""
    if row.provider in work.slowed and row.asks:
        row.wait_s = work.slowed[row.provider]
        return "later", f"{row.provider} asks us to slow down."
    return _caught(work, row, do)


def _caught(work: Work, row: Row, do: Callable[[], State]) -> State:
    try:
        return do()
    except _Alone:
        raise
    except _Wait as exc:
        return "waiting", str(exc)
    except SlowDown as exc:
        row.wait_s = work.slowed[row.provider] = exc.wait_s
        return "later", f"{exc.code}: {exc.detail}"
    except (Unavailable, ProviderUnavailable) as exc:
        return "later", f"{exc.code}: {exc.detail}"
    except PaydeskError as exc:
        return "waiting", f"{exc.code}: {exc.detail}"
    except Exception as exc:  # The edge of one event: a fault of its own must not stop the others.
        log.exception("an event cannot be applied", event_id=row.event.id)
        return "waiting", f"{type(exc).__name__}: {exc}"


def _together(work: Work, rows: Sequence[Row]) -> dict[Key, State]:
    """Ask once about what several events are about, those among them that still wait elsewhere."""
    first, env = rows[0], work.env
    assert first.about is not None
    about, ids = first.about, [row.event.id for row in rows]
    found: list[Taken] = []

    def take() -> State:
        found.append(inbox_rows.take_about(env, first.provider, first.account, about, ids))
        return "taken", None

    # Even where they cannot be taken up, the other customers' events must go on.
    state = _caught(work, first, take)
    if not found:
        return {row.key: state for row in rows}
    taken = found[0]
    states: dict[Key, State] = {}
    if work.is_taken:
        states = {row.key: ("gone", None) for row in rows if row.event.id not in taken.ids}
        rows = [row for row in rows if row.key not in states]
    if not rows:
        return states
    due = [one for raw in taken.due if (one := _read(env, raw, first))]
    early = [one for raw in taken.early if (one := _read(env, raw, first))]
    asked = [*rows, *due, *early]
    try:
        state = _guarded(work, rows[0], lambda: _ask_about(work, asked))
    except _Alone:
        work.others += [*due, *early]
        return states | {
            row.key: _guarded(work, row, lambda row=row: _ask_about(work, [row], alone=True))
            for row in asked
        }
    work.others += due
    states |= {row.key: state for row in (*rows, *due)}
    if state[0] == "done":
        work.others += early
        states |= {row.key: state for row in early}
        for row in asked[1:]:
            row.settled_by = rows[0].event.id
    for row in due:
        row.wait_s = rows[0].wait_s
    return states


def _read(env: Env, raw: Mapping[str, Any], like: Row) -> Row | None:
    """Another event about the same; None for one that cannot be read, which waits for its turn."""
    try:
        row = inbox_rows.stored(env, raw)
        if inbox_rows.first_state(env, row)[0] != "new":
            return None
    except Exception:  # Its provider is gone, or its adapter cannot read it.
        return None
    row.owner = like.owner
    return row


def _ask_about(work: Work, rows: Sequence[Row], *, alone: bool = False) -> State:
    """Raises _Alone where the provider has nothing to answer, so that each speaks for itself."""
    first = rows[0]
    flow = importlib.import_module(APPLY[first.event.kind])
    told: dict[str, Any] = {
        "provider": first.provider, "account": first.account, "owner": first.owner,
        "path": work.path, "wait_s": work.wait_s(),
    }  # fmt: skip
    if first.event.about is not None and not alone:
        try:
            flow.apply_about(work.env, about=first.event.about, **told)
        except ProviderRefused:
            raise _Alone from None
    else:
        flow.apply_event(work.env, event=first.event, **told)
    return "done", None


def _one(work: Work, row: Row, outcome: str | None) -> State:
    """Finish one event alone: with the provider where it must be asked."""
    env, wait_s = work.env, work.wait_s
    if row.event.kind in APPLY:
        return _ask_about(work, [row], alone=True)
    if outcome is None:
        claim = _claim(env, row, work.path)
        outcome = charges.settle(env, [claim], wait_s=wait_s())[0] if claim else ASK
    if outcome == ASK:
        if not work.may_ask:
            return _HANDED
        outcome = _ask(env, row, work.path)
    if outcome == DONE:
        return "done", None
    raise _Wait(_REASONS[outcome])


def _ask(env: Env, row: Row, path: str) -> str:
    """Believe only what the provider itself says now. A claim it does not bear out waits."""
    assert row.owner is not None
    claimed = row.event.charge
    outcome, charge = charges.refresh(
        env, *row.owner, path, ref=row.event.ref, wait_s=LOCK_WAIT_S
    )
    if charge is None:
        raise _Wait("The provider has nothing to be asked about.")
    is_paid = claimed is not None and claimed.status == "succeeded"
    if outcome == DONE and is_paid and charge.status != "succeeded":
        raise _Wait("The provider does not show the payment that the event claims.")
    return outcome


# What is known of an event ------------------------------------------------------------------------


def _ask_whose(work: Work, rows: Sequence[Row]) -> dict[Key, State]:
    """Let the provider say of which payment a refund or dispute is, where its event does not:
    thin events, and shapes from before there were payment intents, which name a charge."""
    env = work.env
    states: dict[Key, State] = {}
    answers: dict[tuple[str, ...], ProviderEvent] = {}
    asked = []

    def ask(row: Row) -> State:
        event = row.event
        key = (row.provider, event.charge_ref or "", "" if event.charge_ref else event.kind,
               "" if event.charge_ref else event.ref or "")  # fmt: skip
        known = answers.get(key)
        if known is None and event.charge_ref:
            payment = env.providers.call(row.provider, "payment_of", event.charge_ref)
            known = answers[key] = replace(event, payment_ref=payment)
        elif known is None:
            found = env.providers.call(row.provider, WHOSE[event.kind], event.ref)
            known = answers[key] = replace(
                event, payment_ref=found.payment_ref, payment_id=found.payment_id
            )
        ours = event.payment_id if event.charge_ref else known.payment_id
        row.event = replace(event, payment_ref=known.payment_ref, payment_id=ours)
        return "asked", None

    for row in rows:
        event = row.event
        if (row.owner is not None or event.payment_ref or not (event.ref or event.charge_ref)
                or event.kind not in WHOSE or _unfit(env, row) is not None):  # fmt: skip
            continue
        if not work.may_ask:
            states[row.key] = _HANDED
            continue
        with patient(PATIENCE_S if work.is_taken else 0.0):
            state = _guarded(work, row, lambda row=row: ask(row))
        if state[0] == "later":
            states[row.key] = state
        elif state[0] == "asked":
            asked.append(row)
        # Else it knows of none: another program's, or it is known soon.
    if asked:
        _find_owners(env, asked)
    return states


def _waits() -> Callable[[], float]:
    """How long each of a group may still wait for a lock, so that its sender gets an answer."""
    until = time.monotonic() + LOCK_WAITS_S
    return lambda: max(LEAST_LOCK_WAIT_S, min(LOCK_WAIT_S, until - time.monotonic()))


def _strange(env: Env, row: Row) -> State:
    """An event of no payment that is known: ours may be known soon, others' never are."""
    event, now = row.event, env.now()
    is_old = now - (row.received_at or now) >= timedelta(seconds=STRANGE_S)
    claimed = event.charge.payment_id if event.charge else event.payment_id
    if is_ours(claimed) or (event.charge is None and event.kind not in APPLY):
        return "waiting", _REASONS[UNKNOWN]
    if is_old:
        return "done", "It bears no id of ours: another program's on this account."
    return "strange", _REASONS[UNKNOWN]


def _claim(env: Env, row: Row, path: str) -> Claim | None:
    """None where the event says too little to be weighed without the provider."""
    if row.event.charge is None or row.owner is None:
        return None
    proof = env.settings.events_are_proof and env.providers[row.provider].events_are_proof
    return Claim(
        customer_id=row.owner[0],
        payment_id=row.owner[1],
        provider=row.provider,
        account=row.account,
        charge=row.event.charge,
        path=path,
        proof=proof,
        event=row.event.id,
    )


def _unfit(env: Env, row: Row) -> str | None:
    state, why = inbox_rows.first_state(env, row)
    return why if state == "parked" else None


def _find_owners(env: Env, rows: Sequence[Row]) -> None:
    """By our metadata first, which also serves events that outrun our own attach; else by ref."""
    unknown = []
    for row in rows:
        named = row.event.charge or row.event
        row.owner = owner_in_metadata(named.payment_id, named.customer_id)
        if row.owner is None and _ref(row.event):
            unknown.append(row)
    if not unknown:
        return
    with env.db.read() as tx:
        found = tx.all(
            "select r.* from unnest(%(providers)s::text[], %(accounts)s::text[], %(refs)s::text[])"
            "  as k(provider, account, ref)"
            " cross join lateral (select provider, account, ref, customer_id, object_id"
            "  from provider_refs where provider = k.provider and account = k.account"
            "  and ref = k.ref limit 1) r",
            {
                "providers": [row.provider for row in unknown],
                "accounts": [row.account for row in unknown],
                "refs": [_ref(row.event) for row in unknown],
            },
        )
    owners = {
        (r["provider"], r["account"], r["ref"]): (r["customer_id"], r["object_id"]) for r in found
    }
    for row in unknown:
        row.owner = owners.get((row.provider, row.account, _ref(row.event) or ""))


def _ref(event: ProviderEvent) -> str | None:
    """What an event's payment, or its other object of ours, is known by."""
    return event.payment_ref or event.charge_ref or event.ref
