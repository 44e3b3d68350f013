"""Events on Redis for other services: in order, at least once, and never in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import redis

from paydesk.cache import Cache
from paydesk.flows import events, outgoing_feed, plans, subscription_changes, subscriptions
from paydesk.flows.subscriptions import NewSubscription
from paydesk.rules.money import USD


@pytest.fixture
def told(env, valkey):
    """The environment with a Redis and no mails."""
    cache = Cache(f"redis://127.0.0.1:{valkey.port}/0")
    off = replace(env.settings, notifications_off="all")
    yield replace(env, cache=cache, settings=off)
    cache.close()


def listener(valkey: Any, pattern: str) -> Any:
    channel = redis.Redis(port=valkey.port, decode_responses=True).pubsub()
    channel.psubscribe(pattern)
    assert channel.get_message(timeout=10)["type"] == "psubscribe"
    return channel


def heard(channel: Any, count: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        message = channel.get_message(timeout=10)
        assert message is not None, found
        found.append(json.loads(message["data"]))
    assert channel.get_message(timeout=0.05) is None
    return found


def work(env: Any) -> None:
    events.publish(env)
    while outgoing_feed.drain(env):
        pass


def test_other_services_hear_of_events_in_order_by_type(told, make, valkey):  # S1.24
    outgoing_feed.drain(told)
    every = listener(valkey, "paydesk:events:*")
    grants = listener(valkey, "paydesk:events:credits.*")
    user = make.user()
    for amount in (5, 6, 7):
        make.credits(user, amount)
    work(told)
    assert [e["sequence"] for e in heard(every, 4)] == [1, 2, 3, 4]
    told_of = heard(grants, 3)
    assert [e["data"]["amount"] for e in told_of] == [5, 6, 7]
    assert told_of[0]["customer"] == user.id and told_of[0]["type"] == "credits.granted"


def test_other_services_hear_what_becomes_of_a_subscription(told, make, valkey):  # S1.24 S1.43
    plans.upsert(told, "pro", name="Pro", price=USD("20.00"), trial_days=14,
                 trial_needs_method=False)  # fmt: skip
    outgoing_feed.drain(told)
    channel = listener(valkey, "paydesk:events:subscription.*")
    user = make.user()
    one = subscriptions.start(told, NewSubscription(customer_id=user.uuid, plan="pro"))
    subscription_changes.cancel(told, user.uuid, one.id, at="now")
    work(told)
    found = heard(channel, 3)
    assert [e["type"].removeprefix("subscription.") for e in found] == [
        "created", "activated", "canceled"]  # fmt: skip
    assert {(e["customer"], e["data"]["plan"]) for e in found} == {(user.id, "pro")}


def test_a_worker_that_dies_while_publishing_tells_it_again(told, make, valkey, monkeypatch):  # I28
    class Death(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Death

    outgoing_feed.drain(told)
    channel = listener(valkey, "paydesk:events:credits.*")
    make.credits(make.user(), 5)
    events.publish(told)
    with monkeypatch.context() as patched:
        patched.setattr(outgoing_feed.notifications, "enqueue", die)
        with pytest.raises(Death):
            outgoing_feed.drain(told)
    work(told)
    first, again = heard(channel, 2)
    assert first == again


def test_without_redis_everything_else_goes_on(told, make, valkey, db):  # I41
    outgoing_feed.drain(told)
    valkey.stop()
    user = make.user()
    make.credits(user, 5)
    work(told)
    with db.read() as tx:
        seq = tx.value(
            "select seq from feeds where customer_id = %(c)s and sink = 'outgoing'",
            {"c": user.uuid},
        )
    assert seq == 2
