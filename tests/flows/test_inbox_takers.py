"""Who takes up what was handed over: each provider's own thread, so that none waits for another."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from purchase import Desk
from starlette.testclient import TestClient

from paydesk.flows import inbox, inbox_rows
from paydesk.http.app import create_app
from paydesk.providers.base import Charge, Provider, ProviderEvent, Providers, RemoteCheckout
from paydesk.rules.money import USD


class Teller(Provider):
    """An invented provider whose events are hints: it is asked what they mean."""

    can = frozenset({"checkout", "fetch", "webhooks"})

    def __init__(self, settings: Any, name: str) -> None:
        self.name = name
        super().__init__(settings)
        self.is_asked, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def create_checkout(self, order: Any) -> RemoteCheckout:
        return RemoteCheckout(id=f"{self.name}-{order.id}", url="https://teller.example/",
                              expires_in=600)  # fmt: skip

    def fetch(self, ref: str) -> Charge:
        self.is_asked.set()
        assert self.answers.wait(60)
        return Charge(ref=ref, status="succeeded", amount=USD("9.99"), ended=True)

    def parse_webhook(self, body: bytes, headers: Any) -> list[ProviderEvent]:
        return [self.read_event(body.decode(), None)]

    def read_event(self, body: str, ref: str | None) -> ProviderEvent:
        return ProviderEvent(id=f"evt-{body}", kind="charge.updated", ref=body, body=body)


@dataclass
class Two:
    """A desk with two providers, one of which can be made to hang."""

    desk: Desk
    ill: Teller
    well: Teller

    @property
    def env(self) -> Any:
        return self.desk.env

    def bought(self, provider: str) -> Any:
        """A checkout at this provider that was paid, and is not heard of yet."""
        offered = self.env.providers
        offered.default = provider
        view = self.desk.open()
        assert view.payment.session_ref.startswith(f"{provider}-")
        return view

    def hand(self, takers: inbox.Takers, provider: str, *views: Any) -> None:
        deliveries = [(view.payment.session_ref.encode(), {}) for view in views]
        inbox.receive_many(self.env, provider, deliveries, partial(takers.wake, provider))

    def states(self, provider: str) -> set[str]:
        return {row["state"] for row in self.desk.all(
            "select state from provider_events where provider = %(p)s", p=provider)}  # fmt: skip


def until(is_so: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def two(desk: Desk) -> Iterator[Two]:
    ill, well = (Teller(desk.env.settings, name) for name in ("ill", "well"))
    settings = replace(desk.env.settings, provider_timeout_s=60)
    offered = Providers(settings, {"ill": ill, "well": well}, "well")
    yield Two(Desk(replace(desk.env, providers=offered, settings=settings), desk.sim, desk.make,
                   desk.clock), ill, well)  # fmt: skip
    ill.answers.set()
    offered.close()


@pytest.fixture
def takers(two: Two) -> Iterator[inbox.Takers]:
    made = inbox.Takers(two.env)
    yield made
    two.ill.answers.set()
    made.close()


def names() -> set[str]:
    """The takers of these two providers that run."""
    found = {one.name for one in threading.enumerate()}
    return found & {"paydesk-taker-ill", "paydesk-taker-well"}


def test_a_provider_that_hangs_delays_no_other_ones_events(two, takers):
    # S1.17 I29: what the other tells of is done while nobody knows when this one answers
    two.ill.answers.clear()
    lost = [two.bought("ill") for _ in range(3)]
    two.hand(takers, "ill", *lost)
    assert two.ill.is_asked.wait(60)
    view = two.bought("well")
    two.hand(takers, "well", view)
    until(lambda: two.desk.balance(view) == 150)
    until(lambda: two.states("well") == {"done"})
    assert two.states("ill") == {"new"}
    assert [two.desk.balance(one) for one in lost] == [0, 0, 0]
    two.ill.answers.set()
    until(lambda: two.states("ill") == {"done"})
    assert [two.desk.balance(one) for one in lost] == [150] * 3


def test_a_sweep_finishes_one_providers_events_while_another_hangs(two):
    # I29: as where the process that stored them has died
    two.ill.answers.clear()
    lost, view = two.bought("ill"), two.bought("well")
    for one in (lost, view):
        inbox.receive_many(two.env, two.env.providers[one.payment.provider].name,
                           [(one.payment.session_ref.encode(), {})], lambda: None)  # fmt: skip
    sweep = threading.Thread(target=lambda: inbox.apply_waiting(two.env))
    sweep.start()
    try:
        until(lambda: two.states("well") == {"done"})
        assert two.states("ill") == {"new"}
    finally:
        two.ill.answers.set()
        sweep.join()
    assert two.states("ill") == {"done"}
    assert [two.desk.balance(one) for one in (lost, view)] == [150, 150]


def test_a_taker_takes_its_own_providers_events_only(two):
    # I29: and the sweep takes all
    views = [two.bought(name) for name in ("ill", "well", "ill")]
    for view in views:
        two.hand(_Idle(), view.payment.provider, view)  # type: ignore[arg-type]
    assert {row["provider"] for row in inbox_rows.take_due(two.env, provider="ill")} == {"ill"}
    assert inbox.apply_waiting(two.env, provider="ill") == 0
    assert inbox.apply_waiting(two.env) == 1
    two.desk.clock.advance(minutes=2)
    assert inbox.apply_waiting(two.env) == 2
    assert [two.desk.balance(view) for view in views] == [150] * 3


def test_a_long_backlog_of_one_provider_stands_before_no_others_events(two):
    # I29: a sweep takes so many of each, however long those of another wait already
    view = two.bought("well")
    with two.env.db.transaction() as tx:
        tx.run(
            "insert into provider_events (provider, account, event_id, type, body, received_at,"
            " try_at, state) select 'ill', 'default', 'evt-' || n, 'told', 'x' || n, %(at)s,"
            " %(at)s, 'new' from generate_series(1, 300) as n",
            {"at": two.desk.clock.now() - timedelta(hours=1)},
        )
    two.hand(_Idle(), "well", view)  # type: ignore[arg-type]
    taken = inbox_rows.take_due(two.env)
    told = Counter(row["provider"] for row in taken)
    assert told == {"ill": inbox_rows.GROUP, "well": 1}
    assert len(inbox_rows.take_due(two.env, 10)) == 10


def test_what_is_due_is_found_by_its_provider_in_the_index(two):
    # I29: the time of a look grows with what is taken, not with what another provider has waiting
    with two.env.db.transaction() as tx:
        tx.run(
            "insert into provider_events (provider, account, event_id, type, body, received_at,"
            " try_at, state) select case when n %% 2 = 0 then 'ill' else 'well' end, 'default',"
            " 'evt-' || n, 'told', 'x', %(at)s, %(at)s, case when n %% 2 = 0 then 'new' else 'done'"
            " end from generate_series(1, 20000) as n",
            {"at": two.desk.clock.now() - timedelta(hours=1)},
        )
        tx.run("analyze provider_events", {})
    told = {"now": two.desk.clock.now(), "limit": 64, "provider": "well"}
    for query in (inbox_rows._DUE_OF, inbox_rows._DUE):
        with two.env.db.read() as tx:
            tx.run("set local plan_cache_mode = force_generic_plan", {})
            plan = "\n".join(
                row["QUERY PLAN"] for row in tx.all("explain (analyze, buffers) " + query, told)
            )
        read = sum(int(n) for n in re.findall(r"Buffers: shared hit=(\d+)", plan)[:1])
        assert "Seq Scan" not in plan and read < 100, plan


class _Idle:
    def wake(self, provider: str) -> None:
        pass


def test_a_taker_begins_when_its_provider_hands_over_and_none_after_the_end(two):
    # I41: threads end with the service, whatever still hangs
    until(lambda: not names())
    takers = inbox.Takers(two.env)
    view = two.bought("well")
    assert not names()
    two.hand(takers, "well", view)
    until(lambda: two.states("well") == {"done"})
    assert names() == {"paydesk-taker-well"}
    takers.start()
    assert names() == {"paydesk-taker-ill", "paydesk-taker-well"}
    takers.close()
    until(lambda: not names())
    takers.start()
    takers.wake("well")
    assert not names()


def test_the_service_acknowledges_and_serves_one_provider_while_another_hangs(two):
    # S1.16 S1.17 I29: at its own door
    two.ill.answers.clear()
    lost, view = two.bought("ill"), two.bought("well")
    try:
        with TestClient(create_app(two.env)) as client:
            for one in (lost, view):
                answer = client.post(f"/v1/webhooks/{one.payment.provider}",
                                     content=one.payment.session_ref.encode())  # fmt: skip
                assert answer.status_code == 200
                if one is lost:
                    assert two.ill.is_asked.wait(60)
            until(lambda: two.desk.balance(view) == 150)
            assert two.states("ill") == {"new"}
            two.ill.answers.set()
            until(lambda: two.states("ill") == {"done"})
    finally:
        two.ill.answers.set()
    until(lambda: not names())
