"""ProviderContract: what every payment provider passes, through real flows on a real database."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from paydesk import ids
from paydesk.clock import FixedClock
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    InvalidSignature,
    MalformedRequest,
    NotSupported,
    OutcomeUnknown,
    PaydeskError,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.flows import catalog, checkout, customers, doctor, refunds
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.providers import base
from paydesk.providers.base import ABILITIES, Charge, Provider, RemoteCheckout, RemoteRefund
from paydesk.rules.money import EXPONENTS, Money
from paydesk.settings import Settings
from paydesk.testing import databases
from paydesk.testing.provider_bench import ContractDesk, Delivery, ProviderBench, run

CREDITS = 150


class ProviderContract:
    """Subclass in a test module, and give `make_bench()` or a fixture named `bench`.

        class TestTeller(ProviderContract):
            def make_bench(self):
                return TellerBench()

    Each test has a database of its own and a new bench. What the provider does not offer (`can`)
    is skipped; whatever it offers is tried: sessions, answers that are lost, webhooks that come
    twice, in any order, late or forged, sums that differ, refunds, secrets in errors.
    """

    def make_bench(self) -> ProviderBench:
        raise TypeError("a ProviderContract needs make_bench() or a fixture named bench")

    @pytest.fixture
    def bench(self) -> Iterator[ProviderBench]:
        made = self.make_bench()
        yield made
        made.close()

    @pytest.fixture
    def desk(self, bench: ProviderBench, tmp_path: Any) -> Iterator[ContractDesk]:
        """A desk on an empty database. At the end the doctor looks at its books."""
        from paydesk.assemble import build_env

        clock = FixedClock(datetime.now(UTC).replace(second=0, microsecond=0))
        told: dict[str, Any] = {
            "provider_timeout_s": 5, "simulator_url": "http://127.0.0.1:9", **bench.settings(),
        }  # fmt: skip
        with databases.lent_database() as made:
            settings = Settings(
                database_url=made.dsn, data_dir=str(tmp_path / "paydesk"), pool_size=8, **told
            )
            env = build_env(settings, start_missing=False, clock=clock)
            try:
                catalog.upsert_pack(
                    env, "creator", name="Creator Pack", credits=CREDITS, price=bench.price
                )
                bench.opened(env)
                yield ContractDesk(env, bench, clock)
                findings = [f for f in doctor.check(env.db) if not f.ok]
                assert not findings, findings
            finally:
                env.close()

    # What it says of itself.

    def test_what_it_can_is_what_its_methods_do(self, desk: ContractDesk) -> None:
        known = desk.provider
        assert set(known.can) <= set(ABILITIES), "a word in `can` that nobody knows"
        for word, methods in ABILITIES.items():
            for method in methods:
                own = getattr(type(known), method) is not getattr(Provider, method)
                if word in known.can:
                    assert own, f"{word} is promised, and {method} is not there"
                else:
                    with pytest.raises(NotSupported):
                        call_blindly(getattr(known, method))

    def test_its_currencies_are_currencies_and_others_are_refused(
        self, desk: ContractDesk
    ) -> None:
        taken = desk.provider.currencies
        if taken is None:
            pytest.skip("it takes every currency")
        assert set(taken) <= set(EXPONENTS)
        assert desk.bench.price.currency in taken
        other = next(code for code in ("xof", "kwd", "htg") if code not in taken)
        user = customers.ensure(desk.env, "user_of_another_currency")
        with pytest.raises(InvalidRequest, match=other.upper()):
            checkout.start(
                desk.env,
                StartCheckout(
                    customer_id=user.uuid, provider=desk.name, amount=Money("50", other)
                ),
            )
        assert desk.bench.sessions() == 0

    def test_what_is_not_configured_is_not_offered(self, desk: ContractDesk) -> None:
        kind = type(desk.provider)
        assert kind.is_configured(desk.env.settings)
        bare = Settings()
        offered = base.load(bare)
        assert (desk.name in offered) is kind.is_configured(bare)
        offered.close()

    # Sessions, opened once whatever happens.

    def test_a_session_has_an_id_and_a_page_and_the_same_key_opens_no_second_one(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "checkout")
        key, user = uuid4(), customers.ensure(desk.env, "user_with_a_key")
        first = desk.open(user, request_key=key)
        again = desk.open(user, request_key=key)
        assert first.payment.session_ref and first.url
        assert again.payment.session_ref == first.payment.session_ref
        assert desk.bench.sessions() == 1

    def test_a_request_that_is_repeated_comes_to_the_same_session(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "checkout")
        order = an_order(desk)
        opened: list[RemoteCheckout] = [desk.ask("create_checkout", order) for _ in range(2)]
        assert desk.bench.sessions() == 1
        if desk.can("fetch"):
            found: Charge = desk.ask("fetch", opened[1].id)
            assert found.status != "succeeded"

    def test_a_lost_answer_is_no_second_session(self, desk: ContractDesk) -> None:
        need(desk, "checkout")
        key, user = uuid4(), customers.ensure(desk.env, "user_of_a_lost_answer")
        desk.bench.lose_answer()
        with pytest.raises((OutcomeUnknown, ProviderUnavailable)):
            desk.open(user, request_key=key)
        view = desk.open(user, request_key=key)
        assert view.payment.session_ref and desk.bench.sessions() == 1
        desk.pay(view)
        desk.settle(view)
        assert desk.standing(view) == paid(desk)

    def test_the_sweep_finds_a_session_whose_answer_was_lost(self, desk: ContractDesk) -> None:
        need(desk, "checkout")
        user = customers.ensure(desk.env, "user_of_the_sweep")
        desk.bench.lose_answer()
        with pytest.raises((OutcomeUnknown, ProviderUnavailable)):
            desk.open(user)
        desk.clock.advance(minutes=3)
        desk.sweep("provider_calls")
        (row,) = payments_of(desk, user)
        assert row["session_ref"] and desk.bench.sessions() == 1

    def test_a_payment_is_found_by_our_own_id(self, desk: ContractDesk) -> None:
        need(desk, "search")
        order = an_order(desk)
        opened = desk.ask("create_checkout", order)
        found = desk.ask("search", order.id, order.request)
        if found is not None:  # A provider may know of a payment only once somebody pays.
            assert opened.id in (found.session_ref, found.ref)
            assert found.status != "succeeded"
        desk.bench.pay(opened.id, desk.bench.price)
        found = desk.ask("search", order.id, order.request)
        assert (found.status, found.amount) == ("succeeded", desk.bench.price)
        strange = an_order(desk)
        assert desk.ask("search", strange.id, strange.request) is None

    # Asked again, as often as anybody likes.

    def test_a_payment_is_taken_once_however_often_it_is_asked_about(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "fetch")
        view = desk.open()
        assert not desk.verify(view).paid
        desk.pay(view)
        for _ in range(3):
            assert desk.verify(view).state == "succeeded"
        assert desk.standing(view) == paid(desk)
        at_once([lambda: desk.ask("fetch", view.payment.session_ref)] * 4)
        assert desk.standing(view) == paid(desk)

    def test_many_who_ask_at_once_take_it_once(self, desk: ContractDesk) -> None:
        need(desk, "fetch")
        view = desk.open()
        desk.pay(view)
        at_once([lambda: desk.verify(view)] * 4)
        assert desk.standing(view) == paid(desk)

    def test_the_same_capture_always_goes_by_the_same_word(self, desk: ContractDesk) -> None:
        need(desk, "fetch")
        view = desk.open()
        desk.pay(view)
        told: list[Charge] = [desk.ask("fetch", view.payment.session_ref) for _ in range(2)]
        assert {one.status for one in told} == {"succeeded"}
        assert {one.amount for one in told} == {desk.bench.price}
        assert len({one.capture_fact for one in told}) == 1

    def test_a_session_that_nobody_pays_is_not_paid_when_its_time_is_over(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "fetch")
        view = desk.open()
        desk.clock.advance(days=2)
        desk.sweep("sessions")
        state, *rest = desk.standing(view)
        assert state in ("pending", "requires_action", "expired", "canceled", "failed")
        assert rest[0] == 0 and rest[2:] == [0, 0]

    def test_an_ended_session_takes_no_money(self, desk: ContractDesk) -> None:
        need(desk, "expire")
        view = desk.open()
        for _ in range(2):
            ended: Charge = desk.ask("expire_checkout", view.payment.session_ref, "end-1")
            assert ended.ended and ended.status != "succeeded"
        desk.clock.advance(minutes=max(60, desk.provider.session_minutes() + 1))
        desk.sweep("sessions")
        assert desk.standing(view) == ("expired", 0, None, 0, 0)

    def test_a_paid_session_that_is_to_be_ended_is_read_as_paid(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "expire")
        view = desk.open()
        desk.pay(view)
        if desk.can("offline"):  # It knows of no money; the desk does, and ends nothing paid.
            with contextlib.suppress(Conflict):
                checkout.expire_now(desk.env, view.customer_id, view.id)
        else:
            ended: Charge = desk.ask("expire_checkout", view.payment.session_ref, "end-1")
            assert (ended.status, ended.amount) == ("succeeded", desk.bench.price)
        desk.settle(view)
        assert desk.standing(view) == paid(desk)

    def test_too_little_money_is_recorded_and_hands_nothing_over(
        self, desk: ContractDesk
    ) -> None:
        less = other_amount(desk, -250)
        view = desk.open()
        desk.pay(view, less)
        desk.settle(view)
        assert desk.standing(view) == ("succeeded", less.minor, "underpaid", 0, 1)

    def test_too_much_money_is_recorded_handed_over_and_looked_at(
        self, desk: ContractDesk
    ) -> None:
        more = other_amount(desk, 250)
        view = desk.open()
        desk.pay(view, more)
        desk.settle(view)
        assert desk.standing(view) == ("succeeded", more.minor, "overpaid", CREDITS, 1)

    def test_money_of_another_currency_hands_nothing_over(self, desk: ContractDesk) -> None:
        if desk.bench.other_currency is None:
            pytest.skip("a payer cannot come with another currency")
        view = desk.open()
        desk.pay(view, Money("12", desk.bench.other_currency))
        desk.settle(view)
        state, captured, review, balance, _ = desk.standing(view)
        assert (state, captured, review, balance) == ("succeeded", 0, "currency_mismatch", 0)

    # Webhooks.

    def test_webhooks_may_come_twice_and_at_once(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        view = desk.open()
        desk.pay(view)
        told = deliveries(desk, view)
        for delivery in told * 2:
            desk.receive(delivery)
        at_once([lambda d=d: desk.receive(d) for d in told * 2])
        desk.sweep("inbox")
        assert desk.standing(view) == paid(desk)
        assert any(one.is_duplicate for one in desk.receive(told[0]))

    def test_webhooks_may_come_in_any_order(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        view = desk.open()
        desk.pay(view)
        for delivery in reversed(deliveries(desk, view)):
            desk.receive(delivery)
        desk.sweep("inbox")
        assert desk.standing(view) == paid(desk)

    def test_webhooks_that_come_after_somebody_asked_change_nothing(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "webhooks")
        need(desk, "fetch")
        view = desk.open()
        desk.pay(view)
        desk.verify(view)
        for delivery in deliveries(desk, view):
            desk.receive(delivery)
        assert desk.standing(view) == paid(desk)

    def test_a_late_webhook_still_completes_the_payment(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        view = desk.open()
        desk.pay(view)
        desk.clock.advance(days=2)
        for delivery in deliveries(desk, view):
            desk.receive(delivery)
        desk.sweep("inbox", "sessions")
        assert desk.standing(view) == paid(desk)

    def test_forged_webhooks_are_refused_and_leave_no_trace(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        first, second = desk.open(), desk.open()
        desk.pay(first)
        desk.pay(second)
        body, headers = deliveries(desk, first)[-1]
        other, other_headers = deliveries(desk, second)[-1]
        forged = [
            (body, {}),
            (body, dict.fromkeys(headers, "")),
            (body, {name: flipped(value) for name, value in headers.items()}),
            (body, other_headers),
            (other, headers),
            (body.replace(b"{", b'{"forged": 1, ', 1), headers),
            (b"", headers),
            (b"[]", headers),
        ]
        for delivery in forged:
            with pytest.raises((InvalidSignature, MalformedRequest)):
                desk.receive(delivery)
        assert desk.stored_events() == 0
        assert desk.payment(first).state == "pending"

    def test_a_webhook_of_a_wrong_sum_is_seen_through(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        less = other_amount(desk, -250)
        view = desk.open()
        desk.pay(view, less)
        for delivery in deliveries(desk, view):
            desk.receive(delivery)
        desk.sweep("inbox")
        assert desk.standing(view) == ("succeeded", less.minor, "underpaid", 0, 1)

    def test_a_stored_event_can_be_read_again(self, desk: ContractDesk) -> None:
        need(desk, "webhooks")
        view = desk.open()
        desk.pay(view)
        for body, headers in deliveries(desk, view):
            for event in run(desk.provider.parse_webhook, body, headers):
                again = desk.provider.read_event(event.body, event.ref)
                assert (again.kind, again.ref) == (event.kind, event.ref)

    # Money back.

    def test_the_same_refund_key_gives_money_back_once(self, desk: ContractDesk) -> None:
        ref, half = paid_and_half(desk)
        one: RemoteRefund = desk.ask("refund", ref, half, "refund-1")
        again: RemoteRefund = desk.ask("refund", ref, half, "refund-1")
        assert (again.id, again.amount) == (one.id, half)
        assert desk.bench.refunds() == 1
        two: RemoteRefund = desk.ask("refund", ref, half, "refund-2")
        assert two.id != one.id and desk.bench.refunds() == 2

    def test_a_refund_whose_answer_was_lost_is_made_once(self, desk: ContractDesk) -> None:
        ref, half = paid_and_half(desk)
        desk.bench.lose_answer()
        with pytest.raises((OutcomeUnknown, ProviderUnavailable)):
            desk.ask("refund", ref, half, "refund-1")
        found: RemoteRefund = desk.ask("refund", ref, half, "refund-1")
        assert desk.bench.refunds() == 1 and found.amount == half

    def test_a_refund_can_be_read_again_and_listed(self, desk: ContractDesk) -> None:
        ref, half = paid_and_half(desk)
        made: RemoteRefund = desk.ask("refund", ref, half, "refund-1")
        read: RemoteRefund = desk.ask("fetch_refund", made.id)
        assert (read.id, read.amount) == (made.id, half)
        listed: list[RemoteRefund] = desk.ask("list_refunds", ref)
        assert [(one.id, one.amount) for one in listed] == [(made.id, half)]

    def test_more_than_was_paid_does_not_come_back(self, desk: ContractDesk) -> None:
        ref, half = paid_and_half(desk)
        with pytest.raises(ProviderRefused):
            desk.ask("refund", ref, half + desk.bench.price, "refund-1")
        assert desk.bench.refunds() == 0

    def test_a_refund_made_in_its_portal_is_recorded_here(self, desk: ContractDesk) -> None:
        need(desk, "by_hand")
        view = desk.open()
        desk.pay(view)
        one = desk.settle(view)
        want = refunds.WantRefund(
            customer_id=view.customer_id, payment_id=view.payment.id, by="rosa",
            request_key=uuid4(), request_hash=b"refund",
        )  # fmt: skip
        begun = refunds.request(desk.env, want)
        assert (begun.state, begun.amount) == ("pending", one.captured)
        for _ in range(2):
            done = refunds.settle_offline(
                desk.env, view.customer_id, begun.id, "paid", by="omar", reference="portal-77"
            )
            assert done.state == "succeeded"
        assert desk.payment(view).state == "refunded"
        assert desk.standing(view)[3] == 0

    # Its books.

    def test_its_books_list_what_was_paid_and_what_went_back(self, desk: ContractDesk) -> None:
        need(desk, "books")
        view = desk.open()
        desk.pay(view)
        one = desk.settle(view)
        (charge,) = [each.value for each in listed(desk, "charge")
                     if each.value.status == "succeeded"]  # fmt: skip
        assert charge.amount == desk.bench.price
        assert charge.payment_id in (None, ids.show("payment", view.payment.id))
        assert charge.capture_fact == desk.ask("fetch", view.payment.session_ref).capture_fact
        if desk.can("refund"):
            assert listed(desk, "refund") == []
            made = desk.ask("refund", one.payment_ref, desk.bench.price, "refund-1")
            (back,) = listed(desk, "refund")
            assert (back.ref, back.value.amount) == (made.id, desk.bench.price)
            assert back.payment_ref == one.payment_ref

    # Trouble.

    def test_what_the_provider_does_not_know_is_an_expected_error(
        self, desk: ContractDesk
    ) -> None:
        need(desk, "fetch")
        with pytest.raises(PaydeskError):
            desk.ask("fetch", "0000-nobody-knows-this")

    def test_a_provider_that_cannot_be_reached_is_unavailable(self, desk: ContractDesk) -> None:
        need(desk, "fetch")
        view = desk.open()
        desk.bench.close()
        with pytest.raises((ProviderUnavailable, OutcomeUnknown)):
            desk.verify(view)
        assert desk.payment(view).state == "pending"

    def test_no_error_tells_a_secret(self, desk: ContractDesk) -> None:
        need(desk, "checkout")
        if desk.can("offline"):
            pytest.skip("nothing is sent anywhere")
        assert desk.bench.secrets, "the bench names no secrets to look for"
        desk.bench.echo_secrets()
        told = []
        for method, args in (
            ("create_checkout", (an_order(desk),)),
            ("fetch", ("0000-nobody-knows-this",)),
        ):
            with contextlib.suppress(NotSupported), pytest.raises(PaydeskError) as caught:
                desk.ask(method, *args)
            told += [
                "".join(traceback.format_exception(caught.value)),
                str(caught.value.to_problem()),
            ]
        for secret in desk.bench.secrets:
            assert not any(secret in text for text in told)


def call_blindly(method: Callable[..., Any]) -> Any:
    """Call with something for every argument: an ability that is lacking looks at none."""
    parameters = inspect.signature(method).parameters.values()
    args = [None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    more = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    return run(method, *args, **more)


def need(desk: ContractDesk, word: str) -> None:
    """Skip the test for a provider that does not offer this."""
    if not desk.can(word):
        pytest.skip(f"{desk.name} offers no {word}")


def paid(desk: ContractDesk) -> tuple[Any, ...]:
    """How a purchase stands that was paid with what was asked: once."""
    return "succeeded", desk.bench.price.minor, None, CREDITS, 1


def other_amount(desk: ContractDesk, difference_minor: int) -> Money:
    """Another sum than the one asked, or a skip where no payer can come with it."""
    need(desk, "checkout")
    if not desk.bench.pays_any_amount:
        pytest.skip(f"a payer of {desk.name} cannot come with another sum")
    price = desk.bench.price
    return Money(price.minor + difference_minor, price.currency, minor=True)


def deliveries(desk: ContractDesk, view: CheckoutView) -> list[Delivery]:
    found = desk.bench.deliveries(view.payment.session_ref or "")
    assert found, "the bench sent no webhook about the session"
    return found


def paid_and_half(desk: ContractDesk) -> tuple[str, Money]:
    """A paid payment's reference at its provider, and half of what was paid."""
    need(desk, "refund")
    view = desk.open()
    desk.pay(view)
    one = desk.settle(view)
    assert one.payment_ref, "a refund needs the provider's reference of the payment"
    price = desk.bench.price
    return one.payment_ref, Money(price.minor // 2, price.currency, minor=True)


def listed(desk: ContractDesk, kind: str) -> list[base.Listed]:
    """What the provider recorded since yesterday, page by page."""
    now, found, cursor = datetime.now(UTC), [], None
    while True:
        page, cursor = desk.ask(
            "books", now - timedelta(days=1), now + timedelta(days=1), kind, cursor
        )
        found += page
        if cursor is None:
            assert all(one.created_at.tzinfo for one in found)
            return found


def an_order(desk: ContractDesk) -> base.Order:
    """An order of a new payment, as the desk would send it."""
    user = customers.ensure(desk.env, f"user_{uuid4().hex[:12]}")
    payment_id = ids.show("payment", ids.new_owned(user.uuid))
    order = base.Order(
        id=payment_id, customer=ids.show("customer", user.uuid), key=str(uuid4()),
        amount=desk.bench.price, description="Creator Pack",
        success_url="https://shop.example/thanks", cancel_url="https://shop.example/back",
        metadata={"payment_id": payment_id, "customer_id": ids.show("customer", user.uuid)},
    )  # fmt: skip
    return replace(order, request=desk.provider.checkout_request(order))


def payments_of(desk: ContractDesk, user: Any) -> list[dict[str, Any]]:
    with desk.env.db.read() as tx:
        return tx.all(
            "select session_ref, state from payments where customer_id = %(c)s", {"c": user.uuid}
        )


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run all calls side by side; their answers in order."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [one.result() for one in [threads.submit(call) for call in calls]]


def flipped(text: str) -> str:
    """The text with its last letter or digit changed."""
    return text[:-1] + ("0" if text[-1:] != "0" else "1")
