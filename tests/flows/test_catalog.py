"""The catalogue and the cache in front of it, with and without Redis."""

from __future__ import annotations

import dataclasses
import time

import pytest

from paydesk.cache import Cache
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import catalog, customers, events
from paydesk.flows.listener import Listener
from paydesk.rules.money import EUR, KWD, USD


def make(env, key="creator", **more):
    told = {"name": "Creator Pack", "credits": 150, "price": USD("9.99"), **more}
    return catalog.upsert_pack(env, key, **told)


def test_a_set_up_script_can_run_twice(env):
    """S4.10 S4.11"""
    first = make(env)
    again = make(env, price=EUR("8.99"), credits=200)
    assert again.id == first.id and again.price == EUR("8.99") and again.created_at
    assert catalog.get_pack(env, "creator") == catalog.get_pack(env, first.id) == again
    assert catalog.list_packs(env) == [again]


def test_packs_stand_in_their_order_and_sleeping_ones_are_left_out(env):
    make(env, "large", position=2)
    make(env, "small", position=1)
    make(env, "old", active=False)
    make(env, "gulf", position=1, price=KWD("1.250"))
    assert [p.key for p in catalog.list_packs(env)] == ["small", "gulf", "large"]
    assert len(catalog.list_packs(env, include_inactive=True)) == 4
    with pytest.raises(NotFound):
        catalog.get_pack(env, "old", active_only=True)
    assert catalog.get_pack(env, "old").key == "old"


@pytest.mark.parametrize(
    "wrong", [{"credits": 0}, {"credits": 1.5}, {"credits": True}, {"credits": 2**63},
              {"price": USD("0")}, {"price": USD("-1")}, {"name": ""}, {"name": "nul\0"},
              {"expires_days": 0}, {"key": "two words"}, {"key": "pack_x"}, {"key": ""},
              {"metadata": {"k": 1.5}}, {"metadata": {"k" * 41: "v"}}, {"name": "\ud800"}],
)  # fmt: skip
def test_what_cannot_be_a_pack_is_refused(env, wrong):
    """I11 I38"""
    with pytest.raises(InvalidRequest):
        make(env, **wrong)
    assert catalog.list_packs(env, include_inactive=True) == []


@pytest.mark.parametrize(
    "ref", ["", "nobody", "pack_", "pack_" + "0" * 26, "nul\0", "\ud800", "x" * 9999]
)
def test_a_pack_that_is_not_there_is_not_found(env, ref):
    with pytest.raises(NotFound):
        catalog.get_pack(env, ref)


def test_a_price_must_be_money(env):
    """I11"""
    with pytest.raises(TypeError):
        make(env, price=9.99)


# With Redis ------------------------------------------------------------------------------------


@pytest.fixture
def with_redis(env, valkey):
    cache = Cache(address(valkey))
    yield dataclasses.replace(env, cache=cache)
    cache.close()


def address(server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def other(env):
    """Another process: a cache of its own over the same Redis."""
    return dataclasses.replace(env, cache=Cache(env.cache.redis.url))


@pytest.mark.parametrize("channel", ["postgres", "redis"])
def test_a_change_is_heard_by_the_other_processes_caches(env, channel, request):
    """Sooner than the seconds that a list may be old."""
    if channel == "redis":
        env = request.getfixturevalue("with_redis")
    make(env)
    there = dataclasses.replace(env, cache=Cache(env.cache.redis.url if env.cache.redis else ""))
    listener = Listener(there)
    try:
        listener.subscribe(customers.ensure(env, "u").uuid, lambda _, __: None)
        until(lambda: listener.is_connected)
        there.cache.keep("packs", [], ttl_s=60)
        assert catalog.list_packs(there) == []
        make(env, name="Changed")
        until(lambda: catalog.list_packs(there) != [])
        assert catalog.list_packs(there)[0].name == "Changed"
    finally:
        listener.close()
        there.cache.close()


def until(condition, timeout_s=8.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.01)


def test_redis_carries_a_list_between_processes_and_a_change_clears_it(with_redis):  # S1.2
    make(with_redis)
    assert len(catalog.list_packs(with_redis)) == 1
    there = other(with_redis)
    with there.db.transaction() as tx:
        tx.run("update packs set name = 'Changed behind its back'")
    assert catalog.list_packs(there)[0].name == "Creator Pack"
    assert catalog.get_pack(there, "creator").name == "Changed behind its back"
    make(with_redis, name="Changed")
    assert catalog.list_packs(with_redis)[0].name == "Changed"
    assert catalog.list_packs(other(with_redis))[0].name == "Changed"
    there.cache.close()


def test_without_an_answer_from_redis_all_is_as_before(with_redis, valkey):
    """I41: down, then flushed."""
    make(with_redis)
    valkey.stop()
    started = time.monotonic()
    assert [p.key for p in catalog.list_packs(with_redis)] == ["creator"]
    make(with_redis, name="Changed")
    for _ in range(20):
        assert catalog.list_packs(with_redis)[0].name == "Changed"
    assert time.monotonic() - started < 5
    assert with_redis.cache.redis.is_down


def test_garbage_in_redis_is_not_believed(with_redis):
    """I41"""
    make(with_redis)
    with_redis.cache.redis.set("paydesk:cache:packs", "{not json", 60)
    assert [p.key for p in catalog.list_packs(with_redis)] == ["creator"]


def test_a_hint_goes_through_redis_and_without_it_by_itself(with_redis, valkey):
    """S1.2 I41 S4.5: the push is delayed, nothing is lost."""
    customer = customers.ensure(with_redis, "u").uuid
    listener = Listener(with_redis, poll_s=0.2, recheck_s=60)
    heard: list[int] = []
    listener.subscribe(customer, lambda _, seq: heard.append(seq))

    def happen():
        with with_redis.db.transaction(customer) as tx:
            number = events.emit(tx, customer, "credits.spent", customer, {})
        events.publish(with_redis)
        until(lambda: number in heard)

    try:
        until(lambda: listener.is_connected)
        happen()
        assert listener.received == 1
        valkey.stop()
        happen()
        assert listener.received == 1
    finally:
        listener.close()


def test_a_value_read_while_it_changed_is_not_kept():
    """What this process changed, it sees at once."""
    cache = Cache()
    values = iter(["old", "new"])

    def load():
        value = next(values)
        if value == "old":
            cache.drop("k")
        return value

    assert cache.read("k", load) == "old"
    assert cache.read("k", load) == "new"


def test_the_cache_is_bounded_and_forgets_in_time():
    cache = Cache(size=3)
    for n in range(5):
        cache.keep(str(n), n, ttl_s=60)
    assert [cache.peek(str(n)) for n in range(5)] == [None, None, 2, 3, 4]
    cache.keep("now", 1, ttl_s=0)
    assert cache.peek("now") is None
