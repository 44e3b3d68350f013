"""Events of a batch, gathered and written together: numbered and ordered as if one by one."""

from __future__ import annotations

import pytest

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.flows import events, ledger


@pytest.fixture
def users(make):
    return sorted(make.user().uuid for _ in range(3))


def spent(customer_id, n):
    return events.NewEvent(customer_id=customer_id, type="credits.spent",
                           subject_id=ids.new_owned(customer_id), data={"amount": n})  # fmt: skip


def amounts(env, customer_id):
    with env.db.read() as tx:
        found = events.follow(tx, customer_id, 1)
    assert [one.seq for one in found] == list(range(2, len(found) + 2))
    return [one.data["amount"] for one in found]


# I28
def test_gathered_events_have_the_numbers_that_were_answered(env, users, monkeypatch):
    sent, execute = [], Tx._execute

    def counted(self, query, params):
        sent.append(query)
        return execute(self, query, params)

    first, second, third = users
    with env.db.transaction(*users) as tx, events.gathered(tx):
        monkeypatch.setattr(Tx, "_execute", counted)
        numbers = events.emit_many(tx, [spent(first, 1), spent(second, 1)])
        numbers += events.emit_many(tx, [spent(first, 2)])
        with causes.by("somebody", "test"):
            numbers += events.emit_many(tx, [spent(third, 1), spent(first, 3)])
        assert sent == []
        assert tx.heads[first].seq == 4
    monkeypatch.undo()
    assert numbers == [2, 2, 3, 2, 4]
    assert len(sent) == 1
    assert [amounts(env, one) for one in users] == [[1, 2, 3], [1], [1]]
    with env.db.read() as tx:
        last = events.follow(tx, first, 3)[0]
        assert last.cause["actor"] == "somebody"
        assert tx.value("select seq from heads where customer_id = %(id)s", {"id": first}) == 4


# I28
def test_what_a_savepoint_undoes_is_not_told_and_what_came_before_is(env, users):
    first = users[0]
    with env.db.transaction(*users) as tx, events.gathered(tx):
        events.emit_many(tx, [spent(first, 1)])
        with pytest.raises(KeyError), tx.savepoint():
            events.emit_many(tx, [spent(first, 2)])
            raise KeyError
        with tx.savepoint():
            events.emit_many(tx, [spent(first, 3)])
        events.emit_many(tx, [spent(first, 4)])
    assert amounts(env, first) == [1, 3, 4]


def test_events_written_by_the_books_keep_their_place_among_gathered_ones(env, users):
    first = users[0]
    with env.db.transaction(*users) as tx, events.gathered(tx):
        events.emit_many(tx, [spent(first, 1)])
        ledger.emit(tx, env.now(), [ledger.Event(
            customer_id=first, type="credits.granted", subject_id=first, data={"amount": 2},
        )])  # fmt: skip
        events.emit_many(tx, [spent(first, 3)])
    assert amounts(env, first) == [1, 2, 3]


def test_a_gathering_that_fails_leaves_nothing_behind(env, users):
    first = users[0]
    with pytest.raises(KeyError), env.db.transaction(*users) as tx, events.gathered(tx):
        events.emit_many(tx, [spent(first, 1)])
        raise KeyError
    with env.db.transaction(*users) as tx:
        assert events.emit_many(tx, [spent(first, 2)]) == [2]
    assert amounts(env, first) == [2]
