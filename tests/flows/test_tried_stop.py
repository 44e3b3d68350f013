"""A stop of ninety days: what customers do meanwhile, and what the first sweep after it makes."""

from __future__ import annotations

from typing import Any

import pytest
from billing import CARD, DECLINES

from paydesk.errors import Conflict, PaydeskError, PreviewOutdated
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.rules.money import USD


def life(billing: Any, deeds: dict[int, Any], *, is_stopped: bool) -> list[tuple[Any, ...]]:
    """Every invoice of 95 days with what was done on some, in days from its beginning; with a
    sweep a day, or with none until the end."""
    who = billing.user()
    sub = billing.subscribe(who, plan="month")
    start = billing.look(sub).period_start
    for day in range(1, 96):
        billing.clock.advance(days=1)
        if not is_stopped:
            billing.renew()
        if day in deeds:
            deeds[day](billing.env, who.uuid, sub.id)
    while billing.renew():
        pass
    rows = billing.all(
        "select cycle, state, total_minor, due_minor, period_start, period_end from invoices"
        " where customer_id = %(c)s and subscription_id = %(s)s order by created_at, id",
        c=sub.customer_id, s=sub.id,
    )
    one = billing.look(sub)
    days = [(one.period_start - start, one.period_end - start)]
    return [(*list(row.values())[:4], row["period_start"] - start, row["period_end"] - start)
            for row in rows] + [(one.state, one.plan_key, one.quantity, *days)]  # fmt: skip


def seats(count: int) -> Any:
    return lambda env, who, sub: changes.change(env, who, sub, quantity=count, at="now")


def to(plan: str) -> Any:
    return lambda env, who, sub: changes.change(env, who, sub, plan=plan, at="now")


# S1.29 S1.44 I22 I23
@pytest.mark.parametrize("deeds", [
    {40: to("dear")}, {40: seats(3), 75: seats(1)}, {40: pauses.pause, 70: pauses.resume},
    {35: to("dear"), 50: to("month"), 92: seats(2)}, {20: changes.cancel, 25: changes.reactivate},
], ids=["plan", "seats", "pause", "back", "end"])  # fmt: skip
def test_what_customers_do_while_no_worker_runs_costs_what_it_costs_beside_one(billing, deeds):
    terms = {"interval": "day", "interval_count": 30, "most_quantity": 5}
    billing.plan("month", **terms)
    billing.plan("dear", price=USD("50.00"), **terms)
    stopped = life(billing, deeds, is_stopped=True)
    assert stopped == life(billing, deeds, is_stopped=False)


# S1.28 I22
def test_an_end_that_came_while_no_worker_ran_is_not_taken_back(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    changes.cancel(billing.env, who.uuid, sub.id)
    billing.clock.advance(days=40)
    with pytest.raises(Conflict):
        changes.reactivate(billing.env, who.uuid, sub.id)
    assert billing.look(sub).state == "canceled" and len(billing.invoices(sub)) == 1


# S1.28 I22
def test_who_cancels_while_no_worker_runs_is_asked_for_no_period_that_was_not_billed(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=40)
    assert changes.cancel(billing.env, who.uuid, sub.id).state == "canceled"
    billing.renew(days=30)
    assert [row[:3] for row in billing.invoices(sub)] == [(0, "paid", 2000)]


# S1.29 I23 I26
def test_a_change_in_a_stop_with_a_card_that_fails_owes_the_period_and_changes_nothing(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.clock.advance(days=40)
    with pytest.raises(PaydeskError):
        changes.change(billing.env, who.uuid, sub.id, plan="team", at="now")
    one = billing.look(sub)
    assert (one.state, one.plan_key) == ("past_due", "pro")
    assert [row[:3] for row in billing.invoices(sub) if row[0] is not None] == [
        (0, "paid", 2000), (1, "open", 2000)]  # fmt: skip


# S1.29 I23
def test_a_preview_of_a_period_that_is_over_is_outdated_once_the_next_has_begun(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=40)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team", at="now")
    with pytest.raises(PreviewOutdated):
        changes.change(billing.env, who.uuid, sub.id, plan="team", at="now", expect=seen)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team", at="now")
    changes.change(billing.env, who.uuid, sub.id, plan="team", at="now", expect=seen)
    assert [row[1:3] for row in billing.invoices(sub)] == [
        ("paid", 2000), ("paid", 2000), ("paid", seen.due_now.minor)]  # fmt: skip


# S1.17 S1.58 I23 I26
def test_a_new_card_pays_all_periods_of_a_stop_once_and_ends_their_dunning(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.clock.advance(days=95)
    for _ in range(3):
        billing.renew()
    owed = billing.invoices(sub)
    assert [one[:2] for one in owed] == [(0, "paid"), *((n, "open") for n in (1, 2, 3))]
    assert billing.look(sub).state == "past_due"
    billing.card(who, CARD)
    for _ in range(3):
        billing.renew(days=1)
    assert [one[:2] for one in billing.invoices(sub)] == [(n, "paid") for n in range(4)]
    assert (billing.look(sub).state, billing.events(sub).count("recovered")) == ("active", 1)
    assert billing.payments(sub).count("succeeded") == 4 and billing.can(sub, "tier:pro")
