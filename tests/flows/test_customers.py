"""Customers: one winner under concurrency, found by either id."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import customers, events


def test_sixty_four_first_uses_at_once_make_one_customer(env):
    """S1.11 C25: an external id is unique, whoever comes first."""
    barrier = threading.Barrier(32)

    def use(n: int):
        barrier.wait()
        return [customers.ensure(env, f"user_{i}").uuid for i in range(4)]

    with ThreadPoolExecutor(32) as pool:
        found = [pair for _ in range(2) for pair in pool.map(use, range(32))]
    assert len({tuple(one) for one in found}) == 1
    with env.db.read() as tx:
        assert tx.value("select count(*) from customers") == 4
        assert tx.value("select count(*) from heads") == 4
        assert tx.value("select count(*) from events where type = 'customer.created'") == 4


def test_a_customer_is_found_by_either_id(env):
    """S1.11 C25"""
    made = customers.ensure(env, "user_123", email="maya@example.com")
    assert customers.ensure(env, made.id) == customers.ensure(env, "user_123") == made
    assert customers.get(env, made.uuid) == made
    assert customers.resolve(env, made.id) == customers.resolve(env, "user_123") == made.uuid
    assert ids.customer_of(ids.new_owned(made.uuid)) == made.uuid
    assert made.owner_id == made.id


def test_an_external_id_shaped_like_ours_is_refused(env):
    """C25"""
    with pytest.raises(InvalidRequest):
        customers.external("cus_" + "0" * 26)
    with pytest.raises(NotFound):
        customers.ensure(env, "cus_" + "0" * 26)
    customers.ensure(env, "cus_short_is_fine")


@pytest.mark.parametrize("bad", ["", "a" * 256, "nul\0", "lone \ud800", None, 7, 1.5, True])
def test_a_text_that_cannot_be_an_id_is_refused(env, bad):
    """I38"""
    with pytest.raises((InvalidRequest, AttributeError, TypeError)):
        customers.external(bad)
    with pytest.raises(InvalidRequest):
        customers.external(bad)


@pytest.mark.parametrize(
    "odd", ["  spaced ", "Ünïcødé", "x' or 1=1 --", "{{7*7}}", "a" * 255, "日本", "%s"]
)
def test_an_external_id_is_kept_as_it_is(env, odd):
    """I38"""
    assert customers.ensure(env, odd).external_id == odd
    assert customers.ensure(env, odd).uuid == customers.resolve(env, odd)


def test_two_customers_may_have_one_email(env):
    a = customers.ensure(env, "a", email="team@example.com")
    b = customers.ensure(env, "b", email="team@example.com")
    assert a.uuid != b.uuid and a.email == b.email


def test_an_update_changes_what_is_given_and_leaves_the_rest(env):  # S1.11
    made = customers.ensure(env, "user_1", email="old@example.com", metadata={"plan": "a"})
    changed = customers.update(env, made, email="new@example.com", name="Maya")
    assert (changed.email, changed.name, changed.metadata) == (
        "new@example.com", "Maya", {"plan": "a"}
    )  # fmt: skip
    team = customers.ensure(env, "team")
    assert customers.update(env, made, owner=team).owner_id == team.id
    with env.db.read() as tx:
        seen = events.follow(tx, made.uuid, 0)
    assert [(e.seq, e.type) for e in seen] == [
        (1, "customer.created"), (2, "customer.updated"), (3, "customer.updated")
    ]  # fmt: skip
    with pytest.raises(InvalidRequest):
        customers.update(env, made, email="no address")
    with pytest.raises(NotFound):
        customers.update(env, "nobody", email="a@example.com")


def test_the_list_pages_without_gap_or_double(env, clock):
    for n in range(7):
        customers.ensure(env, f"user_{n}")
        clock.advance(seconds=n % 2)
    seen, last = [], None
    while page := customers.list_(env, limit=3, starting_after=last):
        seen += [c.external_id for c in page]
        last = page[-1].id
    assert sorted(seen) == [f"user_{n}" for n in range(7)]
    assert [c.external_id for c in customers.list_(env, q="user_3")] == ["user_3"]
