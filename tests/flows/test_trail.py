"""The trail: every change names who and why, and a changed row is found."""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
import pytest

from paydesk import causes, ids
from paydesk.flows import api_keys, catalog, credits, doctor, events, trail
from paydesk.rules.money import USD


def sealed(env: Any) -> None:
    events.publish(env)
    while trail.seal_due(env):
        pass


@pytest.fixture
def owner(database: Any) -> Any:
    """The owner of the database: nothing but the chain stops him."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        for table in ("events", "transfers", "draws", "seals", "audit_log"):
            conn.execute(f"alter table {table} disable trigger user")
        yield conn


def busy(env: Any, make: Any, times: int = 3) -> Any:
    who = make.user("user_1")
    make.credits(who, 100)
    for _ in range(times):
        credits.raise_for(credits.spend_now(env, credits.new_spend(who.uuid, 5, "render")))
    sealed(env)
    return who


def test_untouched_chains_hold_and_cover_everything(env, make):
    # I46
    who = busy(env, make)
    first = trail.root(env)
    found = trail.verify(env)
    assert (found.ok, found.unsealed) == (True, 0)
    assert found.seals >= 1
    credits.spend_now(env, credits.new_spend(who.uuid, 1))
    assert trail.verify(env).unsealed == 1
    sealed(env)
    assert trail.verify(env, who.uuid).ok
    assert trail.root(env) != first


@pytest.mark.unposted
@pytest.mark.parametrize(
    "change",
    [
        "update events set data = data || '{\"amount\": 6}' where type = 'credits.spent'",
        "update events set cause = '{\"actor\": \"somebody else\"}' where seq = 2",
        "update events set created_at = created_at - interval '1 second' where seq = 2",
        "delete from events where seq = 2",
        "update transfers set note = 'nothing' where seq = 2",
        "update transfers set reference = 'order-2' where seq = 3",
        "update seals set hash = sha256('')",
    ],
)  # fmt: skip
def test_one_changed_row_is_found(env, make, owner, change):
    # I46
    who = busy(env, make)
    owner.execute(change)
    found = trail.verify(env)
    assert [b.customer_id for b in found.broken] == [who.uuid] * len(found.broken)
    assert not found.ok
    broken = {f.check for f in doctor.check(env.db) if not f.ok}
    assert "seals_hold" in broken
    # The database is put back, so that it ends as sound as it began.
    owner.execute("truncate seals, events, transfers, draws, batches, accounts")
    owner.execute("update heads set seq = 0, entry_seq = 0")


def test_long_histories_are_sealed_in_spans(env, make, monkeypatch):
    # I46
    monkeypatch.setattr(trail, "SPAN", 2)
    who = busy(env, make, times=6)
    with env.db.read() as tx:
        rows = tx.all(
            "select seq, entry_seq from seals where customer_id = %(id)s order by seq, entry_seq",
            {"id": who.uuid},
        )
    assert len(rows) >= 4
    assert all(b["seq"] - a["seq"] <= 2 for a, b in itertools.pairwise(rows))
    assert trail.verify(env).ok


@pytest.mark.unposted
@pytest.mark.parametrize(
    "change",
    [
        "update payments set state = 'canceled'",
        "update payments set asked_minor = 1",
        "update payments set currency = 'eur'",
    ],
)
def test_a_payment_that_was_changed_by_hand_is_found(desk, database, change):
    # I46
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    untouched = trail.verify(desk.env)
    assert (untouched.ok, untouched.payments) == (True, 1)
    with psycopg.connect(database.owner_dsn, autocommit=True) as conn:
        before = conn.execute("select state, asked_minor, currency from payments").fetchone()
        conn.execute(change)
        found = trail.verify(desk.env, view.customer_id)
        conn.execute("update payments set state = %s, asked_minor = %s, currency = %s", before)
    assert [b.payment_id for b in found.broken] == [view.payment.id]


@pytest.mark.unposted
def test_two_rows_that_changed_places_are_found(env, make, owner):
    # I46
    who = busy(env, make)
    owner.execute(
        "update events e set id = o.id, data = o.data, created_at = o.created_at from events o"
        " where (e.seq, o.seq) in ((3, 4), (4, 3)) and e.customer_id = o.customer_id"
    )
    assert {b.customer_id for b in trail.verify(env).broken} == {who.uuid}
    owner.execute("truncate seals, events, transfers, draws, batches, accounts")
    owner.execute("update heads set seq = 0, entry_seq = 0")


def test_an_event_names_actor_and_request(env, make):
    # I46
    who = make.user("user_1")
    with causes.by("rosa@example.com", "http", "req_1"):
        make.credits(who, 10)
        credits.raise_for(credits.spend_now(env, credits.new_spend(who.uuid, 4)))
    with env.db.read() as tx:
        found = {e.type: e.cause for e in events.follow(tx, who.uuid, 0)}
    for kind in ("credits.granted", "credits.spent"):
        assert found[kind] == {"actor": "rosa@example.com", "via": "http", "request_id": "req_1"}


def test_privileged_changes_stand_in_a_log_that_chains(env, owner):
    # I46
    with causes.by("rosa@example.com", "http", "req_7"):
        key, _ = api_keys.create(env, "Reports", "finance")
        api_keys.revoke(env, key.id)
        catalog.upsert_pack(env, "small", name="Small", credits=10, price=USD("9.00"))
    found = trail.log(env)
    assert [e.action for e in found] == ["pack.saved", "key.revoked", "key.created"]
    assert {(e.actor, e.request_id) for e in found} == {("rosa@example.com", "req_7")}
    assert found[1].subject == ids.show("key", key.id)
    assert [e.action for e in trail.log(env, action="key.")] == ["key.revoked", "key.created"]
    assert trail.verify(env).ok
    owner.execute("update audit_log set actor = 'nobody' where seq = 2")
    assert [(b.customer_id, b.seq) for b in trail.verify(env).broken] == [(None, 2)]
    owner.execute("delete from audit_log where seq = 2")
    assert not trail.verify(env).ok


def test_the_application_cannot_change_the_trail(env, make):
    # I4 I46
    busy(env, make)
    for statement in ("update seals set seq = 0", "delete from audit_log", "truncate seals"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), env.db.transaction() as tx:
            tx.conn.execute(statement)
