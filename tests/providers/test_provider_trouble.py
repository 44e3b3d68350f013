"""Whatever becomes of an answer, a payment is taken once and nothing is lost, at each provider."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from test_contract_btcpay import BTCPayBench
from test_contract_moncash import MonCashBench
from test_contract_paypal import PayPalBench
from test_contract_stripe import StripeBench
from trouble_proxy import TROUBLES, TroubleProxy

from paydesk.assemble import build_env
from paydesk.clock import FixedClock
from paydesk.errors import OutcomeUnknown, ProviderUnavailable
from paydesk.flows import catalog, checkout, customers, doctor
from paydesk.providers.circuit import FAILURES_TO_OPEN
from paydesk.settings import Settings
from paydesk.testing import databases
from paydesk.testing.provider_bench import ContractDesk

BENCHES = {"stripe": StripeBench, "paypal": PayPalBench, "btcpay": BTCPayBench,
           "moncash": MonCashBench}  # fmt: skip
URLS = {"stripe": "simulator_url", "paypal": "paypal_url", "btcpay": "btcpay_url",
        "moncash": "moncash_url"}  # fmt: skip
CREDITS = 150


class Troubled(ContractDesk):
    """A desk whose provider is reached through the proxy, and gives up soon."""

    proxy: TroubleProxy


@pytest.fixture(params=sorted(BENCHES))
def desk(request, tmp_path) -> Iterator[Troubled]:
    bench = BENCHES[request.param]()
    told = bench.settings()
    proxy = TroubleProxy(told[URLS[request.param]])
    told[URLS[request.param]] = proxy.url
    clock = FixedClock(datetime.now(UTC).replace(second=0, microsecond=0))
    with databases.lent_database() as made:
        env = build_env(
            Settings(**{
                "database_url": made.dsn, "data_dir": str(tmp_path / "paydesk"), "pool_size": 8,
                "simulator_url": "http://127.0.0.1:9", "provider_timeout_s": 3, **told,
            }),
            start_missing=False, clock=clock,
        )  # fmt: skip
        try:
            catalog.upsert_pack(
                env, "creator", name="Creator Pack", credits=CREDITS, price=bench.price
            )
            found = Troubled(env, bench, clock)
            found.proxy = proxy
            env.providers.warm()  # Tokens are there: the trouble is that of the call itself.
            yield found
            findings = [f for f in doctor.check(env.db) if not f.ok]
            assert not findings, findings
        finally:
            proxy.close()
            env.close()
            bench.close()




def finish(desk, payment_id):
    """Sweep until the checkout is there, and answer it."""
    for _ in range(6):
        with contextlib.suppress(ProviderUnavailable, OutcomeUnknown):
            view = checkout.get(desk.env, None, payment_id)
            if view.payment.session_ref:
                return view
        desk.clock.advance(minutes=2)
        desk.sweep("provider_calls")
    raise AssertionError("the checkout never came about")


@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_bad_answer_costs_nothing_but_time(desk, trouble):
    # S3.25 I10: when the session is opened, and again when the payment is asked about
    user = customers.ensure(desk.env, "user_1")
    desk.proxy.make(trouble)
    with contextlib.suppress(ProviderUnavailable, OutcomeUnknown):
        desk.open(user)
    assert desk.proxy.struck == 1
    with desk.env.db.read() as tx:
        (row,) = tx.all("select id from payments")
    view = finish(desk, row["id"])
    assert desk.bench.sessions() == 1
    desk.pay(view)
    desk.proxy.make(trouble)
    with contextlib.suppress(ProviderUnavailable, OutcomeUnknown):
        desk.verify(view)
    desk.proxy.end()
    desk.verify(view)
    assert desk.standing(view) == ("succeeded", desk.bench.price.minor, None, CREDITS, 1)


def test_a_provider_that_is_ill_rests_and_the_others_go_on(desk):
    # S3.25: a circuit of its own; while it rests nothing is sent
    view = desk.open()
    desk.proxy.make("500_before", times=10_000)
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises((ProviderUnavailable, OutcomeUnknown)):
            desk.verify(view)
    circuit = desk.env.providers.circuit(desk.name)
    assert circuit.state == "open"
    sent = desk.proxy.struck
    with pytest.raises(ProviderUnavailable, match="nothing was sent"):
        desk.verify(view)
    assert desk.proxy.struck == sent
    states = desk.env.providers.health()
    assert {name for name, state in states.items() if state != "closed"} == {desk.name}
    assert desk.payment(view).state == "pending"
    desk.proxy.end()
    circuit.rest_s = 0.0
    circuit._open_until = 0.0
    desk.pay(view)
    assert desk.verify(view).state == "succeeded" and circuit.state == "closed"


def test_to_be_asked_to_slow_down_is_no_illness_of_the_payment(desk):
    # S3.25
    view = desk.open()
    desk.pay(view)
    desk.proxy.make("429", times=3)
    for _ in range(3):
        with pytest.raises(ProviderUnavailable) as caught:
            desk.verify(view)
        assert caught.value.retry_after_s >= 1
    assert desk.verify(view).state == "succeeded"
