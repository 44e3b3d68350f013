"""Webhooks out: signed, in order, at least once, tried for days, and seen by people."""

from __future__ import annotations

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from receiver import Receiver, receiving
from standardwebhooks import Webhook

from paydesk import ids, signing
from paydesk.errors import AddressRefused, InvalidRequest, NotFound
from paydesk.flows import credits, events, outgoing_feed, webhook_deliveries, webhook_endpoints
from paydesk.flows.webhook_deliveries import SCHEDULE_S


class Out:
    """What tests do: spend credits, let the feed work, look at what came."""

    def __init__(self, env: Any, make: Any, receiver: Receiver, clock: Any) -> None:
        self.env, self.make, self.receiver, self.clock = env, make, receiver, clock
        self.numbers = itertools.count(1)

    def endpoint(self, url: str | None = None, *filters: str) -> Any:
        one, secret = webhook_endpoints.create(
            self.env, url or f"{self.receiver.url}/hooks", events=filters or ("credits.*",)
        )
        outgoing_feed.drain(self.env)  # From here on the feed has a place.
        return one, secret

    def spend(self, user: Any, amount: int = 1) -> None:
        item = credits.new_spend(user.uuid, amount, f"use {next(self.numbers)}")
        credits.spend_now(self.env, item)

    def work(self) -> None:
        events.publish(self.env)
        while outgoing_feed.drain(self.env):
            pass
        webhook_deliveries.send_due(self.env, wait_s=None)

    def work_until_quiet(self) -> None:
        for _ in range(50):
            before = len(self.receiver.got)
            self.work()
            if len(self.receiver.got) == before:
                return

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(one.body) for one in self.receiver.got]

    def deliveries(self, endpoint: Any) -> list[Any]:
        return webhook_deliveries.list_(self.env, endpoint.id, limit=100)


@pytest.fixture
def out(env, make, receiver, clock) -> Out:
    return Out(env, make, receiver, clock)


def funded(out: Out) -> Any:
    user = out.make.user()
    out.make.credits(user, 100)
    return user


def test_the_official_package_verifies_what_an_endpoint_gets(out):  # S4.24
    one, secret = out.endpoint()
    user = funded(out)
    out.work()
    got = out.receiver.got[0]
    body = Webhook(secret).verify(got.body, got.headers)
    assert body["type"] == "credits.granted"
    assert body["customer"] == user.id and body["livemode"] is False
    assert got.headers["webhook-id"] == body["id"]
    assert got.headers["content-type"] == "application/json"
    assert len(got.body) < 20_000
    stored = events.get_event(out.env, body["id"])
    assert (stored.seq, stored.subject) == (body["sequence"], body["subject"])
    [done] = out.deliveries(one)
    assert (done.state, done.status, done.tries) == ("done", 200, 1)


def test_a_customers_events_come_in_their_order_and_once(out):  # I28
    out.endpoint()
    users = [funded(out) for _ in range(3)]
    for _ in range(5):
        for user in users:
            out.spend(user)
    out.work_until_quiet()
    for user in users:
        told = [b["sequence"] for b in out.bodies() if b["customer"] == user.id]
        assert told == sorted(told) and len(told) == len(set(told)) == 6


def test_filters_choose_types_and_families(out):
    one, _ = out.endpoint(None, "credits.spent", "checkout.*")
    user = funded(out)
    out.spend(user)
    out.work_until_quiet()
    assert [b["type"] for b in out.bodies()] == ["credits.spent"]
    assert one.wants("checkout.completed") and not one.wants("credits.granted")
    for wrong in (["nothing.happened"], ["pay*"], [], ["payments.*"]):
        with pytest.raises(InvalidRequest):
            webhook_endpoints.create(out.env, "https://hooks.example.com/", events=wrong)


def test_a_failed_event_is_tried_on_the_schedule_with_the_same_id_and_then_parked(out):  # I29
    one, _ = out.endpoint()
    funded(out)
    out.receiver.answer = lambda got: (500, b"no")
    out.env = replace(out.env, settings=replace(out.env.settings, webhook_disable_days=30))
    out.work()
    for n, pause_s in enumerate(SCHEDULE_S[1:], start=2):
        out.clock.advance(seconds=pause_s * 0.99)
        out.work()
        assert len(out.receiver.got) == n - 1, "too early"
        out.clock.advance(seconds=pause_s * 0.12)
        out.work()
        assert len(out.receiver.got) == n
    assert sum(SCHEDULE_S) > 2.9 * 86_400
    assert len({one.headers["webhook-id"] for one in out.receiver.got}) == 1
    assert len({one.body for one in out.receiver.got}) == 1
    [given_up] = webhook_deliveries.parked(out.env)
    assert (given_up.tries, given_up.status) == (len(SCHEDULE_S), 500)
    out.clock.advance(days=5)
    out.work()
    assert len(out.receiver.got) == len(SCHEDULE_S)
    calls = webhook_deliveries.attempts(out.env, given_up)
    assert [c.status for c in calls] == [500] * len(SCHEDULE_S) and calls[0].response == "no"
    out.receiver.answer = lambda got: (204, b"")
    webhook_deliveries.redeliver(out.env, given_up.id)
    out.work()
    assert out.deliveries(one)[0].state == "done"
    assert len({one.headers["webhook-id"] for one in out.receiver.got}) == 1


def test_a_poison_event_holds_others_up_for_one_retry_only(out):  # I29
    one, _ = out.endpoint()
    user, other = funded(out), funded(out)
    out.work_until_quiet()
    out.receiver.got.clear()
    out.receiver.answer = lambda got: (500 if b'"amount":7,' in got.body else 200, b"")
    out.spend(user, 7)
    out.spend(user, 1)
    out.spend(other, 2)
    out.work_until_quiet()
    told = [(b["customer"] == user.id, b["data"]["amount"]) for b in out.bodies()]
    assert sorted(told) == [(False, 2), (True, 7)], "another customer's goes on, his own waits"
    out.clock.advance(seconds=6)
    out.work_until_quiet()
    assert [b["data"]["amount"] for b in out.bodies()][-2:] == [7, 1]
    states = {d.seq: d.state for d in out.deliveries(one) if d.customer_id == user.uuid}
    assert [states[seq] for seq in sorted(states)] == ["done", "waiting", "done"]


def test_a_dead_endpoint_delays_no_other(out):  # I29
    release = threading.Event()
    with receiving() as slow:
        slow.answer = lambda got: (200, b"") if release.wait(30) else (500, b"")
        out.endpoint()
        out.endpoint(f"{slow.url}/slow")
        funded(out)
        events.publish(out.env)
        outgoing_feed.drain(out.env)
        webhook_deliveries.send_due(out.env, wait_s=0.05)
        quick = threading.Event()
        for _ in range(400):
            if out.receiver.got:
                break
            quick.wait(0.02)
        assert len(out.receiver.got) == 1, "the slow one was not waited for"
        release.set()
        for _ in range(400):
            states = {d.state for e in webhook_endpoints.list_(out.env) for d in out.deliveries(e)}
            if states == {"done"}:
                break
            quick.wait(0.02)
        assert states == {"done"} and len(slow.got) == 1


def test_a_process_that_dies_after_the_call_sends_it_again_with_the_same_id(out, monkeypatch):
    # I28
    class Death(BaseException):
        pass

    def die(*args: Any) -> None:
        raise Death

    out.endpoint()
    funded(out)
    events.publish(out.env)
    outgoing_feed.drain(out.env)
    with monkeypatch.context() as patched:
        patched.setattr(webhook_deliveries, "_settle", die)
        with pytest.raises(Death):
            webhook_deliveries.send_due(out.env, wait_s=None)
    out.work()
    assert len(out.receiver.got) == 1, "the lease holds"
    out.clock.advance(seconds=61)
    out.work()
    assert len(out.receiver.got) == 2
    assert out.receiver.got[0].headers["webhook-id"] == out.receiver.got[1].headers["webhook-id"]


def test_workers_side_by_side_send_each_event_once_and_in_order(out):  # I28
    """What keeps two calls apart is the lease in the database, not the process."""
    endpoint, _ = out.endpoint()
    users = [funded(out) for _ in range(3)]
    for user in users:
        for _ in range(6):
            out.spend(user)
    events.publish(out.env)
    while outgoing_feed.drain(out.env):
        pass
    wanted = 3 * 7
    with ThreadPoolExecutor(4) as pool:
        for _ in range(wanted):
            for one in [
                pool.submit(
                    webhook_deliveries._send_endpoint, out.env, (out.env.db.dsn, endpoint.id)
                )
                for _ in range(4)
            ]:
                one.result()
            if len(out.receiver.got) >= wanted:
                break
    told = [one.headers["webhook-id"] for one in out.receiver.got]
    assert len(told) == len(set(told)) == wanted
    for user in users:
        numbers = [one["sequence"] for one in out.bodies()
                   if one["customer"] == ids.show("customer", user.uuid)]  # fmt: skip
        assert numbers == sorted(numbers)


def test_an_event_is_queued_once_even_when_the_feed_is_read_again(out, db):  # I28
    one, _ = out.endpoint()
    user = funded(out)
    out.work()
    with db.transaction(user.uuid) as tx:
        found = events.follow(tx, user.uuid, 0)
        assert webhook_deliveries.enqueue(tx, out.env, [one], found) == 0
    out.work()
    assert len(out.receiver.got) == 1


def test_410_disables_an_endpoint_and_staff_hear_of_it(out):
    one, _ = out.endpoint()
    user = funded(out)
    out.receiver.answer = lambda got: (410, b"")
    out.work()
    now = webhook_endpoints.get(out.env, one.id)
    assert (now.state, now.disabled_reason) == ("disabled", "gone")
    told = events.list_events(out.env, user.uuid, types=["webhook_endpoint.disabled"])
    assert [(e.subject, e.data) for e in told] == [
        (ids.show("endpoint", one.id), {"reason": "gone"})
    ]
    out.clock.advance(days=1)
    out.spend(user)
    out.work_until_quiet()
    assert len(out.receiver.got) == 1, "nothing is sent to it any more"
    out.receiver.answer = lambda got: (200, b"")
    webhook_endpoints.resume(out.env, one.id)
    out.work_until_quiet()
    assert len(out.receiver.got) == 2, "what waited came; what was not kept for it did not"
    since = out.clock.now() - timedelta(days=2)
    assert webhook_deliveries.redeliver_range(out.env, one.id, since, only_failed=True) == 1
    out.work_until_quiet()
    assert out.bodies()[-1]["type"] == "credits.spent"


def test_days_of_failures_disable_an_endpoint_and_a_success_starts_them_anew(out):
    one, _ = out.endpoint()
    user = funded(out)
    out.receiver.answer = lambda got: (503, b"")
    out.work()
    first = webhook_endpoints.get(out.env, one.id).failing_since
    assert first is not None
    out.clock.advance(days=4)
    out.receiver.answer = lambda got: (200, b"")
    out.work()
    assert webhook_endpoints.get(out.env, one.id).failing_since is None
    out.receiver.answer = lambda got: (503, b"")
    out.spend(user)
    out.work()
    out.clock.advance(days=4)
    out.work()
    assert webhook_endpoints.get(out.env, one.id).state == "enabled"
    out.clock.advance(days=1, seconds=1)
    out.work()
    now = webhook_endpoints.get(out.env, one.id)
    assert (now.state, now.disabled_reason) == ("disabled", "failing")


def test_a_receiver_may_ask_for_more_time(out):
    out.endpoint()
    funded(out)
    out.receiver.answer = lambda got: (429, b"")
    out.receiver.headers = {"retry-after": "600"}
    out.work()
    out.clock.advance(seconds=599)
    out.work()
    assert len(out.receiver.got) == 1
    out.clock.advance(seconds=2)
    out.work()
    assert len(out.receiver.got) == 2


def test_paused_events_wait_and_come_in_order(out):
    one, _ = out.endpoint()
    user = funded(out)
    webhook_endpoints.pause(out.env, one.id)
    for _ in range(3):
        out.spend(user)
    out.work_until_quiet()
    assert not out.receiver.got
    webhook_endpoints.resume(out.env, one.id)
    out.work_until_quiet()
    told = [b["sequence"] for b in out.bodies()]
    assert told == sorted(told) and len(told) == 4


def test_a_replaced_secret_signs_for_a_day_beside_the_new_one(out):
    one, old = out.endpoint()
    user = funded(out)
    _, new = webhook_endpoints.rotate(out.env, one.id)
    assert new != old
    out.work()
    for secret in (old, new):
        Webhook(secret).verify(out.receiver.got[-1].body, out.receiver.got[-1].headers)
    out.clock.advance(hours=24, seconds=1)
    out.spend(user)
    out.work()
    got = out.receiver.got[-1]
    assert len(got.headers["webhook-signature"].split()) == 1
    Webhook(new).verify(got.body, got.headers)
    _, newest = webhook_endpoints.rotate(out.env, one.id, overlap=timedelta(0))
    out.spend(user)
    out.work()
    got = out.receiver.got[-1]
    Webhook(newest).verify(got.body, got.headers)
    assert len(got.headers["webhook-signature"].split()) == 1


def test_no_secret_stands_open_in_the_database(out, db):  # I37
    one, secret = out.endpoint()
    _, newer = webhook_endpoints.rotate(out.env, one.id)
    with db.read() as tx:
        row = tx.one("select e::text as whole, secret, previous_secret from webhook_endpoints e")
    for each in (secret, newer):
        key = signing.key_of(each)
        assert each not in row["whole"] and key not in bytes(row["secret"])
        assert key not in bytes(row["previous_secret"]) and key.hex() not in row["whole"]
    assert webhook_endpoints.secrets_of(out.env, one.id) == [newer, secret]


def test_a_secret_that_no_key_opens_holds_its_events_until_it_can_be(out, monkeypatch):
    one, _ = out.endpoint()
    funded(out)
    good = out.env
    lost = replace(good.settings, encryption_key="another", jwt_secret="", secret_key="")
    out.env = replace(good, settings=lost)
    out.work()
    out.work()
    assert not out.receiver.got and out.deliveries(one)[0].tries == 0
    out.env = good
    monkeypatch.setattr(webhook_deliveries, "_unsigned", {})  # A minute has passed.
    out.work()
    assert len(out.receiver.got) == 1


def test_an_answer_is_kept_without_cards_and_keys(out):  # I37
    one, _ = out.endpoint()
    funded(out)
    out.receiver.answer = lambda got: (
        400, b"card 4242 4242 4242 4242, key sk_" + b"test_abcdefghijk, NUL \0 end" + b"x" * 9999
    )  # fmt: skip
    out.work()
    [call] = webhook_deliveries.attempts(out.env, out.deliveries(one)[0])
    assert "4242" not in call.response and "abcdefghijk" not in call.response
    assert "\0" not in call.response and len(call.response) == 2000


def test_a_range_is_sent_again_oldest_first_with_the_same_ids(out):
    one, _ = out.endpoint()
    user = funded(out)
    out.work()
    start = out.clock.now() + timedelta(minutes=1)
    out.clock.advance(minutes=2)
    for _ in range(3):
        out.spend(user)
    out.work_until_quiet()
    before = {b["id"] for b in out.bodies()}
    assert webhook_deliveries.redeliver_range(out.env, one.id, start) == 3
    assert webhook_deliveries.redeliver_range(out.env, one.id, start, only_failed=True) == 0
    out.work_until_quiet()
    again = out.bodies()[4:]
    assert [b["sequence"] for b in again] == sorted(b["sequence"] for b in again)
    assert {b["id"] for b in again} < before and len(again) == 3


def test_a_test_event_is_sent_at_once_and_kept_nowhere(out):
    one, secret = out.endpoint()
    found = webhook_deliveries.test(out.env, one.id, "payment.succeeded")
    assert found.is_success and found.status == 200
    body = Webhook(secret).verify(out.receiver.got[0].body, out.receiver.got[0].headers)
    assert body["test"] is True and body["type"] == "payment.succeeded"
    assert out.deliveries(one) == []
    with receiving() as gone:
        url = gone.url
    webhook_endpoints.update(out.env, one.id, url=url)
    assert webhook_deliveries.test(out.env, one.id).error


def test_an_address_is_checked_when_it_is_typed_and_when_it_is_called(out):  # I36
    for url in ("http://hooks.example.com/", "https://10.0.0.8/", "https://169.254.169.254/"):
        with pytest.raises(AddressRefused):
            webhook_endpoints.create(out.env, url)
    one, _ = out.endpoint()
    with pytest.raises(AddressRefused):
        webhook_endpoints.update(out.env, one.id, url="https://192.168.0.1/")
    funded(out)
    strict = replace(out.env, settings=replace(out.env.settings, outgoing_loopback=False))
    out.env = strict
    out.work()
    assert not out.receiver.got
    [call] = webhook_deliveries.attempts(strict, out.deliveries(one)[0])
    assert call.status is None and "PAYDESK_OUTGOING_LOOPBACK" in call.error


def test_a_redirect_is_a_failure(out):  # I36
    one, _ = out.endpoint()
    funded(out)
    out.receiver.answer = lambda got: (307, b"")
    out.receiver.headers = {"location": f"{out.receiver.url}/elsewhere"}
    out.work()
    assert [g.path for g in out.receiver.got] == ["/hooks"]
    assert out.deliveries(one)[0].status == 307 and out.deliveries(one)[0].state == "waiting"


def test_a_deleted_endpoint_is_gone_and_its_history_ends(out):
    one, _ = out.endpoint()
    user = funded(out)
    out.work()
    webhook_endpoints.delete(out.env, one.id)
    with pytest.raises(NotFound):
        webhook_endpoints.get(out.env, one.id)
    assert webhook_endpoints.list_(out.env) == []
    out.spend(user)
    out.work_until_quiet()
    assert len(out.receiver.got) == 1
    assert webhook_deliveries.forget(out.env) == 0
    out.clock.advance(days=out.env.settings.webhook_keep_days, seconds=1)
    assert webhook_deliveries.forget(out.env) == 1
    assert out.deliveries(one) == []
