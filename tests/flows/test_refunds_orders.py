"""One payment's refunds and disputes end the same in whatever order their news comes."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from purchase import Desk
from refunding import Refunding

from paydesk.errors import Conflict, NotRefundable, ProviderRefused
from paydesk.flows import charges, credits, disputes, doctor, refund_facts, refunds
from paydesk.flows.charges import Claim
from paydesk.providers.base import Charge, RemoteDispute, RemoteRefund
from paydesk.rules.money import USD, Money

PRICE = 999


def cents(minor: int) -> Money:
    return Money(minor, "usd", minor=True)


def paid(desk: Desk, **more: Any):
    view = desk.open(**more)
    desk.pay(view)
    desk.deliver(view)
    return view


def hear(desk: Desk, view, one: RemoteRefund | RemoteDispute):
    door = refund_facts if isinstance(one, RemoteRefund) else disputes
    told = replace(one, payment_ref=desk.payment(view).payment_ref,
                   id=f"{one.id}_{view.payment.id.hex}")  # fmt: skip
    return door.apply_remote(
        desk.env, "stripe", "", told, (view.customer_id, view.payment.id), "webhook"
    )


def refund(amount: int = PRICE, id: str = "re", status: str = "succeeded") -> RemoteRefund:
    return RemoteRefund(id=id, status=status, amount=cents(amount))


def dispute(amount: int = PRICE, id: str = "du", status: str = "needs_response") -> RemoteDispute:
    return RemoteDispute(
        id=id, status=status, amount=cents(amount), withdrawn=cents(amount),
        reinstated=cents(amount if status == "won" else 0),
        fee=cents(0 if status == "won" else 1500),
    )  # fmt: skip


def end(desk: Desk, view) -> dict[str, Any]:
    """Where a payment's money and goods stand, whoever of its refunds and disputes has them."""
    values = {"c": view.customer_id, "p": view.payment.id}
    found = desk.all(
        "select (select coalesce(sum(loss_minor), 0) from refunds where payment_id = %(p)s"
        "  and state in ('pending', 'succeeded')) + (select coalesce(sum(loss_minor), 0)"
        "  from disputes where payment_id = %(p)s) as lost,"
        " (select coalesce(sum(amount_minor - loss_minor), 0) from refunds"
        "  where payment_id = %(p)s and state in ('pending', 'succeeded'))"
        " + (select coalesce(sum(withdrawn_minor - reinstated_minor - loss_minor), 0)"
        "  from disputes where payment_id = %(p)s) as covered,"
        " (select sum(remaining - owed) from batches where customer_id = %(c)s) as credits,"
        " (select coalesce(sum(asked), 0) from clawbacks where payment_id = %(p)s"
        "  and reversed_at is null) as asked,"
        " (select state from fulfillments where payment_id = %(p)s) as goods,"
        " (select (state, captured_minor, refunded_minor, review, disputed)::text from payments"
        "  where id = %(p)s) as payment", **values,
    )[0]  # fmt: skip
    states = desk.all(
        "select replace(provider_ref, %(mark)s, '') as ref, state from refunds"
        " where payment_id = %(p)s and state <> 'failed'"
        " union all select replace(ref, %(mark)s, ''), state from disputes"
        " where payment_id = %(p)s order by 1", mark=view.payment.id.hex, **values,
    )  # fmt: skip
    kept = desk.all(
        "select code, balance from accounts where customer_id = %(c)s and asset <> 'CREDIT'"
        " and balance <> 0 order by code", **values,
    )  # fmt: skip
    return {**found, "states": states, "books": kept}


def told(desk: Desk, *news: RemoteRefund | RemoteDispute, used: int = 0, **more: Any):
    """The end of a payment of which these news were heard, in this order."""
    view = paid(desk, **more)
    if used:
        item = credits.new_spend(view.customer_id, used, "render")
        credits.raise_for(credits.spend_now(desk.env, item))
    for one in news:
        hear(desk, view, one)
    broken = [one for one in doctor.check(desk.env.db) if not one.ok]
    assert not broken, broken
    return end(desk, view)


def test_a_won_dispute_covers_a_refund_that_had_lost_its_money(desk):  # I9 I10 I17
    won = dispute(status="won")
    found = told(desk, dispute(), refund(), won)
    assert (found["lost"], found["covered"], found["credits"]) == (0, PRICE, 0)
    assert found == told(desk, refund(), dispute(), won)


def test_a_refund_that_fails_leaves_its_money_to_the_dispute(desk):  # I9 I10 I17
    pending, failed = refund(status="pending"), refund(status="failed")
    lost = dispute(status="lost")
    found = told(desk, pending, dispute(), failed, lost)
    assert (found["lost"], found["covered"], found["credits"]) == (0, PRICE, 0)
    assert found == told(desk, pending, failed, dispute(), lost)
    assert found == told(desk, dispute(), pending, failed, lost)


def test_the_second_dispute_takes_what_the_first_one_gave_back(desk):  # I9 I10 I17
    first, second = dispute(id="du_a"), dispute(id="du_b")
    won, lost = dispute(id="du_a", status="won"), dispute(id="du_b", status="lost")
    found = told(desk, first, second, won, lost)
    assert (found["lost"], found["covered"], found["credits"]) == (0, PRICE, 0)
    assert found == told(desk, first, won, second, lost)
    assert found == told(desk, second, lost, first, won)


def test_a_covered_dispute_that_is_won_gives_back_all(desk):  # I9
    first, second = dispute(id="du_a"), dispute(id="du_b")
    won, late = dispute(id="du_a", status="won"), dispute(id="du_b", status="won")
    found = told(desk, first, second, won, late)
    assert (found["lost"], found["covered"], found["credits"]) == (0, 0, 150)
    assert found["books"] == told(desk)["books"]


def test_what_a_refund_gave_back_is_not_left_with_another_by_rounding(desk):  # I17
    one, other = refund(333 + 1, "re_a"), refund(335, "re_b")
    failed = replace(one, status="failed")
    assert told(desk, one, other, failed) == told(desk, one, failed, other)
    assert told(desk, one, other, failed)["credits"] == told(desk, other)["credits"]


@pytest.mark.parametrize("which", ["wallet", "credits"])
def test_money_beyond_the_price_is_the_next_refunds_once_the_first_failed(desk, which):  # I17
    """Paid twice: the surplus goes back first, and takes no goods."""
    more = {"wallet": USD("9.99")} if which == "wallet" else {}
    first, second = refund(PRICE, "re_a"), refund(500, "re_b")
    failed = replace(first, status="failed")
    ends = []
    for news in ((first, second, failed), (first, failed, second)):
        view = paid(desk, **more)
        twice(desk, view)
        for one in news:
            hear(desk, view, one)
        ends.append(end(desk, view))
    # What is not sold stands in deposits or in revenue, by which refund took what first.
    books = [{one["code"]: one["balance"] for one in ended.pop("books")} for ended in ends]
    assert ends[0] == ends[1]
    assert books[0].pop(5) + books[0].pop(6, 0) == books[1].pop(5) + books[1].pop(6, 0)
    assert books[0] == books[1]
    assert (ends[0]["asked"], ends[0]["covered"]) == (0, 500)
    assert all(one.ok for one in doctor.check(desk.env.db))


def twice(desk: Desk, view) -> None:
    """The same price came once more, by another charge."""
    ref = f"pi_again_{view.payment.id.hex}"
    charge = Charge(ref=ref, payment_ref=ref, status="succeeded", ended=True, fact=ref,
                    amount=USD("9.99"), method="card")  # fmt: skip
    claim = Claim(customer_id=view.customer_id, payment_id=view.payment.id, provider="stripe",
                  account="", charge=charge, path="webhook", proof=True)  # fmt: skip
    assert charges.settle(desk.env, [claim]) == ["done"]


def test_money_that_is_captured_late_covers_what_was_a_loss(desk):  # I9 I10
    ends = []
    for is_late in (True, False):
        view = paid(desk)
        if not is_late:
            twice(desk, view)
        hear(desk, view, dispute(status="lost"))
        hear(desk, view, refund(PRICE))
        if is_late:
            assert end(desk, view)["lost"] == PRICE
            twice(desk, view)
        ends.append(end(desk, view))
    assert ends[0]["lost"] == 0
    assert ends[0] == ends[1]
    assert all(one.ok for one in doctor.check(desk.env.db))


def test_a_top_up_that_is_refunded_and_disputed_ends_the_same(desk):  # I9 S3.24
    news = [dispute(), refund(), dispute(status="won")]
    found = told(desk, *news, wallet=USD("9.99"))
    assert found["asked"] == PRICE
    assert found == told(desk, news[1], news[0], news[2], wallet=USD("9.99"))


def test_a_bank_that_takes_the_same_money_again_takes_the_goods_again(desk):  # I9 I17
    won = dispute(status="won")
    again = replace(dispute(status="lost"), withdrawn=cents(2 * PRICE), reinstated=cents(PRICE))
    found = told(desk, dispute(), won, again)
    assert (found["credits"], "dispute_changed" in found["payment"]) == (0, True)
    assert found == told(desk, again)


def test_a_stale_snapshot_of_a_won_dispute_charges_no_fee(desk):  # I9 I10
    won, stale = dispute(status="won"), dispute()
    found = told(desk, won, stale)
    assert found == told(desk, stale, won)
    assert found["books"] == told(desk)["books"]
    kept = replace(won, fee=cents(1500))
    assert told(desk, stale, kept) == told(desk, kept, replace(stale, fee=cents(0)))
    assert told(desk, stale, kept, won) == told(desk, won, kept, stale)


def facts(rng: random.Random) -> list[RemoteRefund | RemoteDispute]:
    """Everything that a provider says of one payment, each stage once."""
    said: list[RemoteRefund | RemoteDispute] = []
    for number in range(rng.randint(0, 4)):
        one = refund(rng.choice((PRICE, rng.randint(1, PRICE))), f"re_{number}")
        stages = rng.choice((
            ("succeeded",), ("pending", "succeeded"), ("pending", "failed"), ("failed",),
            ("pending", "succeeded", "failed"), ("succeeded", "failed"),
        ))  # fmt: skip
        said += [replace(one, status=stage) for stage in stages]
    for number in range(rng.randint(0 if said else 1, 2)):
        amount = rng.choice((PRICE, rng.randint(1, PRICE + 300)))
        stages = rng.choice((
            ("needs_response",), ("needs_response", "won"), ("needs_response", "lost"),
            ("warning", "needs_response", "under_review", "lost", "won"),
            ("needs_response", "under_review", "won"),
        ))  # fmt: skip
        for stage in stages:
            one = dispute(amount, f"du_{number}", stage)
            if stage == "warning":
                one = replace(one, withdrawn=cents(0), fee=cents(0))
            said.append(one)
    return said


@pytest.mark.parametrize("number", range(12))
def test_any_facts_in_any_two_orders_end_the_same(desk, seed, number):  # I7 I9 I10 I17
    rng = random.Random(f"{seed}/{number}")
    said, used = facts(rng), rng.choice((0, 0, 40, 150))
    more = {"wallet": USD("9.99")} if number % 4 == 3 else {}
    ends = []
    for _ in range(2):
        order = rng.sample(said * 2, len(said) * 2)
        ends.append(told(desk, *order, used=0 if more else used, **more))
    assert ends[0] == ends[1]
    assert 0 <= ends[0]["covered"] <= PRICE


def test_a_disputes_cover_is_seen_where_it_is_read(desk):  # I9
    view = paid(desk)
    hear(desk, view, refund(PRICE, "re_a"))
    hear(desk, view, dispute())
    assert disputes.list_(desk.env, view.customer_id)[0].loss == USD("9.99")
    assert desk.payment(view).review == "over_refunded"
    hear(desk, view, refund(PRICE, "re_a", "failed"))
    assert disputes.list_(desk.env, view.customer_id)[0].loss == USD(0)
    assert desk.payment(view).review is None
    assert Refunding(desk).accounts(view, "usd").get("revenue", 0) == 0


def test_a_dispute_in_another_currency_is_looked_at(desk):  # I9
    view = paid(desk)
    one = replace(dispute(), amount=Money(920, "eur", minor=True), fee=None,
                  withdrawn=Money(920, "eur", minor=True), reinstated=None)  # fmt: skip
    hear(desk, view, one)
    assert desk.payment(view).review == "dispute_currency"
    assert desk.balance(view) == 150
    assert Refunding(desk).accounts(view, "eur") == {"clearing": 920, "losses": -920}


def test_a_payment_of_two_charges_goes_back_through_each(desk):  # I7
    """The provider holds each charge's money apart: one refund goes through one of them."""
    back = Refunding(desk)
    view = paid(desk)
    ref = f"pi_again_{view.payment.id.hex}"
    twice(desk, view)
    seen = refunds.preview(desk.env, view.customer_id, view.payment.id, USD("12.00"))
    assert seen.obstacle == "not_refundable"
    with pytest.raises(NotRefundable, match=r"at most USD 9\.99"):
        back.refund(view, USD("12.00"))
    assert desk.payment(view).refunded == USD(0)
    assert back.refund(view, USD("9.99")).state == "succeeded"
    with pytest.raises(ProviderRefused):  # The simulator knows nothing of the second charge.
        back.refund(view, USD("9.99"))
    asked = desk.all("select request->>'ref' as ref from provider_calls"
                     " where action = 'refund' order by created_at, id")  # fmt: skip
    assert [one["ref"] for one in asked] == [desk.payment(view).payment_ref, ref]
    assert desk.payment(view).refunded == USD("9.99")
    assert desk.balance(view) == 150


@pytest.mark.parametrize("is_dispute", [False, True])
def test_what_the_provider_took_of_each_charge_is_counted_for_it(desk, is_dispute):  # I7
    """Money that went back in the dashboard, or was disputed, is no more where it was."""
    back = Refunding(desk)
    view = paid(desk)
    second = f"pi_again_{view.payment.id.hex}"
    twice(desk, view)
    first = desk.payment(view).payment_ref
    one = dispute(700) if is_dispute else refund(700, "re_dash")
    owner = (view.customer_id, view.payment.id)
    door = disputes if is_dispute else refund_facts
    door.apply_remote(desk.env, "stripe", "", replace(one, payment_ref=first), owner, "webhook")
    seen = refunds.preview(desk.env, *owner, USD("9.99"))
    assert seen.obstacle is None and seen.refundable == USD("12.98")
    with pytest.raises(ProviderRefused):  # The simulator knows nothing of the second charge.
        back.refund(view, USD("9.99"))
    assert back.refund(view, USD("2.99")).state == "succeeded"
    asked = desk.all("select request->>'ref' as ref from provider_calls"
                     " where action = 'refund' order by created_at, id")  # fmt: skip
    assert [row["ref"] for row in asked] == [second, first]
    assert desk.payment(view).refundable == USD("9.99")


def test_a_dashboard_refund_through_the_second_charge_leaves_the_first(desk):  # I7
    view = paid(desk)
    second = f"pi_again_{view.payment.id.hex}"
    twice(desk, view)
    owner = (view.customer_id, view.payment.id)
    refund_facts.apply_remote(
        desk.env, "stripe", "", replace(refund(900, "re_dash"), payment_ref=second), owner,
        "webhook",
    )  # fmt: skip
    done = Refunding(desk).refund(view, USD("9.99"))
    assert done.state == "succeeded"
    assert refunds.preview(desk.env, *owner).refundable == USD("0.99")


def test_nobody_asks_twice_for_the_same_payment_at_once(desk):  # S3.20
    back, view = Refunding(desk), paid(desk)
    asked = back.refund(view, USD(2), actor_role="support", by="rosa@example.com")
    with pytest.raises(Conflict, match="waits to be decided"):
        back.refund(view, USD(1), actor_role="support", by="rosa@example.com")
    other = back.refund(view, USD(1), actor_role="support", by="omar@example.com")
    assert (asked.state, other.state) == ("requested", "requested")
    back.decide(asked, "reject", by="omar@example.com")
    assert back.refund(view, actor_role="support", by="rosa@example.com").state == "requested"
