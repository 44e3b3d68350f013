"""Subscriptions through the official SDK: begun, renewed, changed, in trial, paused, ended."""

from __future__ import annotations

import itertools

import pytest
import stripe
from billing_support import DAY, HOUR, START, World, at, lines

SUBSCRIBED = [
    "customer.subscription.created", "invoice.created", "payment_intent.created",
    "invoice.finalized", "charge.succeeded", "payment_intent.succeeded", "invoice.paid",
    "invoice.payment_succeeded", "customer.subscription.updated", "charge.updated",
]


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


def items(subscription, **more):
    """The change of a subscription's one item."""
    return [{"id": subscription["items"].data[0].id, **more}]


def period(subscription):
    item = subscription["items"].data[0]
    return item.current_period_start, item.current_period_end


def test_a_subscription_with_a_saved_card_is_paid_at_once(world):
    """The events come in Stripe's order, and the time is the clock's."""
    made = world.subscribe(world.price(1999), expand=["latest_invoice.payments"])
    assert (made.status, made.test_clock, period(made)) == (
        "active", world.clock, (START, at(2026, 2, 1))
    )
    invoice = made.latest_invoice
    assert (invoice.status, invoice.billing_reason, invoice.total, invoice.amount_paid) == (
        "paid", "subscription_create", 1999, 1999
    )
    assert lines(invoice) == [("1 × Pro (at $19.99 / month)", 1999)]
    paid_by = invoice.payments.data[0].payment.payment_intent
    assert world.client.v1.payment_intents.retrieve(paid_by).amount_received == 1999
    assert world.types()[-len(SUBSCRIBED):] == SUBSCRIBED
    (created,) = world.sandbox.events("customer.subscription.created")
    assert (created["created"], created["data"]["object"]["status"]) == (START, "incomplete")


def test_without_a_card_a_subscription_cannot_be_charged(sandbox, client):
    world = World(sandbox, client, card=None)
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        world.subscribe(world.price(1000))
    assert sandbox.objects("subscription") == sandbox.objects("invoice") == []


def test_a_first_payment_left_to_the_browser_makes_the_subscription_active(world):
    """`default_incomplete`: the secret is handed to the browser, which confirms the intent."""
    made = world.subscribe(
        world.price(1000), payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=["latest_invoice.confirmation_secret"],
    )
    secret = made.latest_invoice.confirmation_secret.client_secret
    assert (made.status, made.latest_invoice.status) == ("incomplete", "open")
    world.client.v1.payment_intents.confirm(
        secret.partition("_secret_")[0], {"payment_method": "pm_card_mastercard"}
    )
    now = world.now(made)
    assert now.status == "active"
    saved = world.client.v1.payment_methods.retrieve(now.default_payment_method)
    assert (saved.customer, saved.card.brand) == (world.customer, "mastercard")


def test_a_declined_first_payment_leaves_the_subscription_incomplete_for_23_hours(world):
    world.card("pm_card_chargeCustomerFail")
    made = world.subscribe(world.price(1000))
    assert made.status == "incomplete"
    world.advance(START + 23 * HOUR - 1)
    assert world.now(made).status == "incomplete"
    world.advance(START + 23 * HOUR)
    assert world.now(made).status == "incomplete_expired"
    (invoice,) = world.invoices(made)
    assert (invoice.status, invoice.attempt_count) == ("void", 1)
    (intent,) = world.sandbox.objects("payment_intent")
    assert (intent["status"], intent["cancellation_reason"]) == ("canceled", "void_invoice")


def test_an_error_if_incomplete_leaves_nothing_behind(world):
    world.card("pm_card_chargeCustomerFail")
    price = world.price(1000)
    with pytest.raises(stripe.CardError) as refused:
        world.subscribe(price, payment_behavior="error_if_incomplete")
    assert refused.value.code == "card_declined"
    assert world.sandbox.objects("subscription") == world.sandbox.objects("invoice") == []


def test_a_repetition_with_the_same_key_makes_one_subscription(world):
    params = {"customer": world.customer, "items": [{"price": world.price(1000)}]}
    first, second = (
        world.client.v1.subscriptions.create(params, {"idempotency_key": "sub-1"})
        for _ in range(2)
    )
    assert first.id == second.id
    assert len(world.sandbox.objects("subscription")) == 1


def test_a_renewal_is_drafted_at_the_boundary_and_charged_an_hour_later(world):
    made = world.subscribe(world.price(1000))
    world.advance(at(2026, 2, 1))
    assert period(world.now(made)) == (at(2026, 2, 1), at(2026, 3, 1))
    draft = world.invoices(made)[-1]
    assert (draft.status, draft.billing_reason, draft.automatically_finalizes_at) == (
        "draft", "subscription_cycle", at(2026, 2, 1, 1)
    )
    world.advance(at(2026, 2, 1, 1))
    paid = world.invoices(made)[-1]
    assert (paid.status, paid.status_transitions.paid_at) == ("paid", at(2026, 2, 1, 1))
    (told,) = world.sandbox.events("invoice.upcoming")
    assert told["created"] == at(2026, 1, 25)
    assert told["data"]["object"]["amount_due"] == 1000


def test_thirteen_months_from_the_31st_tile_and_are_numbered_without_gaps(sandbox, client):
    """The anchor is the 31st: short months end early, long ones have their day again."""
    world = World(sandbox, client, start=at(2027, 1, 31))
    made = world.subscribe(world.price(1000))
    world.far(at(2028, 3, 1))
    found = world.invoices(made)
    starts = [one.lines.data[0].period.start for one in found]
    ends = [one.lines.data[0].period.end for one in found]
    assert starts[1:] == ends[:-1]
    days = [(2, 28), (3, 31), (4, 30), (5, 31), (6, 30), (7, 31), (8, 31), (9, 30), (10, 31),
            (11, 30), (12, 31)]  # fmt: skip
    assert starts[1:12] == [at(2027, *one) for one in days]
    assert starts[12:] == [at(2028, 1, 31), at(2028, 2, 29)]
    assert [one.number.rpartition("-")[2] for one in found] == [
        f"{n:04d}" for n in range(1, len(found) + 1)
    ]
    assert {one.status for one in found} == {"paid"}
    assert sum(one["amount"] for one in sandbox.objects("charge")) == 1000 * 14


# Stripe's published example: 10 a month to 20 a month in the middle of the month gives back 5 and
# charges 10, https://docs.stripe.com/billing/subscriptions/prorations
def test_an_upgrade_in_the_middle_of_the_period_waits_for_the_next_invoice(sandbox, client):
    world = World(sandbox, client, start=at(2026, 4, 1))
    small, large = world.price(1000, name="Basic"), world.price(2000, name="Team")
    made = world.subscribe(small)
    world.advance(at(2026, 4, 16))
    world.client.v1.subscriptions.update(made.id, {"items": items(made, price=large)})
    waiting = world.client.v1.invoice_items.list({"customer": world.customer, "pending": True})
    assert [(one.amount, one.proration) for one in waiting.data] == [(1000, True), (-500, True)]
    world.advance(at(2026, 5, 1, 1))
    invoice = world.invoices(made)[-1]
    assert lines(invoice) == [
        ("Unused time on Basic after 16 Apr 2026", -500),
        ("Remaining time on Team after 16 Apr 2026", 1000),
        ("1 × Team (at $20.00 / month)", 2000),
    ]
    assert (invoice.total, invoice.amount_paid) == (2500, 2500)
    credit = invoice.lines.data[0].parent.subscription_item_details
    assert (credit.proration, credit.proration_details.credited_items.invoice) == (
        True, made.latest_invoice
    )


@pytest.mark.parametrize("second", [0, 1, 1_000_003, 2_591_999])
def test_an_upgrade_invoiced_at_once_is_prorated_to_the_second(sandbox, client, second):
    world = World(sandbox, client, start=at(2026, 4, 1))
    old, new = world.price(1999, name="Basic"), world.price(4999, name="Team")
    made = world.subscribe(old, quantity=3)
    if second:
        world.advance(at(2026, 4, 1) + second)
    params = {"items": items(made, price=new), "proration_behavior": "always_invoice"}
    preview = client.v1.invoices.create_preview(
        {"subscription": made.id, "subscription_details": params}
    )
    changed = client.v1.subscriptions.update(made.id, params)
    invoice = client.v1.invoices.retrieve(changed.latest_invoice)
    left, whole = 2_592_000 - second, 2_592_000
    rounded = [(2 * unit * 3 * left + whole) // (2 * whole) for unit in (1999, 4999)]
    expected = [-rounded[0], rounded[1]]
    assert [one.amount for one in invoice.lines.data] == expected
    assert lines(preview) == lines(invoice)
    assert (preview.total, preview.amount_due) == (invoice.total, invoice.amount_due)
    assert invoice.billing_reason == "subscription_update"
    # What is less than a card can be charged is owed until the next invoice.
    owed = sum(expected) if sum(expected) < 50 else 0
    assert client.v1.customers.retrieve(world.customer).balance == owed
    assert (invoice.status, invoice.amount_due) == ("paid", sum(expected) - owed)


def test_a_downgrade_invoiced_at_once_becomes_credit_that_the_next_invoice_uses(world):
    large, small = world.price(3100, name="Team"), world.price(310, name="Basic")
    made = world.subscribe(large)
    world.advance(START + 15 * DAY + DAY // 2)  # half of the 31 days of January
    changed = world.client.v1.subscriptions.update(
        made.id, {"items": items(made, price=small), "proration_behavior": "always_invoice"}
    )
    credit = world.client.v1.invoices.retrieve(changed.latest_invoice)
    assert (credit.total, credit.amount_due, credit.ending_balance) == (-1395, 0, -1395)
    assert world.client.v1.customers.retrieve(world.customer).balance == -1395
    world.advance(at(2026, 2, 1, 1))
    renewal = world.invoices(made)[-1]
    assert (renewal.total, renewal.starting_balance, renewal.ending_balance) == (310, -1395, -1085)
    assert (renewal.status, renewal.amount_due) == ("paid", 0)


def test_a_change_and_its_reversal_at_the_same_moment_come_to_nothing(world):
    a, b = world.price(1999, name="A"), world.price(4999, name="B")
    made = world.subscribe(a)
    world.advance(START + 1_234_567)
    for price in (b, a):
        world.client.v1.subscriptions.update(made.id, {"items": items(made, price=price)})
    waiting = world.client.v1.invoice_items.list({"customer": world.customer, "pending": True})
    assert len(waiting.data) == 4
    assert sum(one.amount for one in waiting.data) == 0


def test_no_proration_changes_the_price_and_charges_nothing(world):
    made = world.subscribe(world.price(1000))
    world.advance(START + 10 * DAY)
    changed = world.client.v1.subscriptions.update(
        made.id, {"items": items(made, quantity=5), "proration_behavior": "none"}
    )
    assert changed["items"].data[0].quantity == 5
    assert world.sandbox.objects("invoiceitem") == []
    world.advance(at(2026, 2, 1, 1))
    assert world.invoices(made)[-1].total == 5000


def test_another_interval_begins_a_new_cycle_and_is_billed_at_once(world):
    made = world.subscribe(world.price(3100, name="Monthly"))
    world.advance(START + 15 * DAY + DAY // 2)
    year = world.price(30000, "year", name="Yearly")
    changed = world.client.v1.subscriptions.update(made.id, {"items": items(made, price=year)})
    now = START + 15 * DAY + DAY // 2
    assert period(changed) == (now, at(2027, 1, 16, 12))
    assert changed.billing_cycle_anchor == now
    invoice = world.client.v1.invoices.retrieve(changed.latest_invoice)
    assert [one.amount for one in invoice.lines.data] == [-1550, 30000]
    assert (invoice.status, invoice.amount_paid) == ("paid", 28450)


def test_a_date_of_proration_is_taken_and_one_outside_the_period_refused(world):
    made = world.subscribe(world.price(3100))
    world.advance(START + 20 * DAY)
    change = {"items": items(made, quantity=2), "proration_date": START + 15 * DAY + DAY // 2}
    world.client.v1.subscriptions.update(made.id, change)
    amounts = [one["amount"] for one in world.sandbox.objects("invoiceitem")]
    assert amounts == [-1550, 3100]
    with pytest.raises(stripe.InvalidRequestError, match="outside of the current"):
        world.client.v1.subscriptions.update(
            made.id, {"items": items(made, quantity=3), "proration_date": START - 1}
        )


def test_an_item_is_added_changed_and_removed_by_calls_of_its_own(world):
    made = world.subscribe(world.price(1000, name="Seat"))
    added = world.client.v1.subscription_items.create(
        {"subscription": made.id, "price": world.price(500, name="Extra"), "quantity": 2}
    )
    world.client.v1.subscription_items.update(added.id, {"quantity": 4})
    assert world.client.v1.subscription_items.retrieve(added.id).quantity == 4
    assert len(world.now(made)["items"].data) == 2
    assert world.client.v1.subscription_items.delete(added.id).deleted
    listed = world.client.v1.subscription_items.list({"subscription": made.id}).data
    assert [one.id for one in listed] == [made["items"].data[0].id]
    amounts = [one["amount"] for one in world.sandbox.objects("invoiceitem")]
    assert (amounts, sum(amounts)) == ([1000, -1000, 2000, -2000], 0)
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        world.client.v1.subscription_items.delete(made["items"].data[0].id)


def test_a_chosen_anchor_makes_a_short_first_period(world):
    """Billing on the first of the month: what is left of January is charged to the second."""
    world.advance(at(2026, 1, 15))
    made = world.subscribe(world.price(3100), billing_cycle_anchor=at(2026, 2, 1))
    (first,) = world.invoices(made)
    assert (first.total, period(made)) == (1700, (at(2026, 1, 15), at(2026, 2, 1)))
    world.advance(at(2026, 2, 1, 1))
    assert [one.total for one in world.invoices(made)] == [1700, 3100]
    free = world.subscribe(
        world.price(3100), billing_cycle_anchor=at(2026, 2, 20), proration_behavior="none"
    )
    assert world.client.v1.invoices.retrieve(free.latest_invoice).total == 0


# Trials -------------------------------------------------------------------------------------------


def test_a_trial_costs_nothing_is_announced_and_then_charged(world):
    made = world.subscribe(world.price(1000), trial_period_days=14)
    end = START + 14 * DAY
    assert (made.status, made.trial_end, period(made)) == ("trialing", end, (START, end))
    (first,) = world.invoices(made)
    assert (first.total, first.status, lines(first)) == (0, "paid", [("Trial period for Pro", 0)])
    world.advance(end - 3 * DAY - 1)
    assert world.sandbox.events("customer.subscription.trial_will_end") == []
    world.advance(end - 3 * DAY)
    (told,) = world.sandbox.events("customer.subscription.trial_will_end")
    assert told["created"] == end - 3 * DAY
    world.advance(end + HOUR)
    now = world.now(made)
    assert (now.status, now.billing_cycle_anchor) == ("active", end)
    assert period(now) == (end, at(2026, 2, 15))
    assert [one.total for one in world.invoices(made)] == [0, 1000]


@pytest.mark.parametrize(
    ("behavior", "status", "event"),
    [("cancel", "canceled", "customer.subscription.deleted"),
     ("pause", "paused", "customer.subscription.paused"),
     ("create_invoice", "past_due", "invoice.payment_failed")],
)  # fmt: skip
def test_a_trial_without_a_card_ends_as_was_asked(sandbox, client, behavior, status, event):
    world = World(sandbox, client, card=None)
    made = world.subscribe(
        world.price(1000), trial_period_days=10,
        trial_settings={"end_behavior": {"missing_payment_method": behavior}},
    )
    world.advance(START + 10 * DAY + HOUR)
    assert world.now(made).status == status
    assert len(sandbox.events(event)) == 1


def test_a_paused_trial_is_resumed_once_there_is_a_card(sandbox, client):
    world = World(sandbox, client, card=None)
    made = world.subscribe(
        world.price(1000), trial_period_days=10,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )
    world.advance(START + 20 * DAY)
    world.card("pm_card_visa")
    resumed = client.v1.subscriptions.resume(made.id, {"billing_cycle_anchor": "now"})
    assert resumed.status == "active"
    assert period(resumed)[0] == START + 20 * DAY
    assert world.invoices(made)[-1].amount_paid == 1000
    assert len(sandbox.events("customer.subscription.resumed")) == 1
    with pytest.raises(stripe.InvalidRequestError, match="status of `active`"):
        client.v1.subscriptions.resume(made.id)


def test_a_trial_is_ended_now_or_made_longer(world):
    made = world.subscribe(world.price(1000), trial_period_days=10)
    longer = world.client.v1.subscriptions.update(made.id, {"trial_end": START + 20 * DAY})
    assert (longer.status, period(longer)[1]) == ("trialing", START + 20 * DAY)
    world.advance(START + 12 * DAY)
    ended = world.client.v1.subscriptions.update(made.id, {"trial_end": "now"})
    assert (ended.status, ended.trial_end, period(ended)[0]) == (
        "active", START + 12 * DAY, START + 12 * DAY
    )
    assert [one.amount_paid for one in world.invoices(made)] == [0, 1000]


def test_a_trial_begun_without_a_card_asks_for_one_with_a_setup_intent(sandbox, client):
    world = World(sandbox, client, card=None)
    made = world.subscribe(
        world.price(1000), trial_period_days=10, payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=["pending_setup_intent"],
    )
    client.v1.setup_intents.confirm(
        made.pending_setup_intent.id, {"payment_method": "pm_card_visa"}
    )
    now = world.now(made)
    assert now.pending_setup_intent is None
    assert now.default_payment_method.startswith("pm_")
    world.advance(START + 10 * DAY + HOUR)
    assert world.now(made).status == "active"


def test_a_running_subscription_is_put_into_a_trial_and_credited(world):
    made = world.subscribe(world.price(3100))
    world.advance(START + 15 * DAY + DAY // 2)
    trial = world.client.v1.subscriptions.update(made.id, {"trial_end": START + 40 * DAY})
    assert (trial.status, period(trial)[1]) == ("trialing", START + 40 * DAY)
    invoice = world.client.v1.invoices.retrieve(trial.latest_invoice)
    assert [one.amount for one in invoice.lines.data] == [-1550, 0]
    assert world.client.v1.customers.retrieve(world.customer).balance == -1550
    world.advance(START + 40 * DAY + HOUR)
    now = world.now(made)
    assert (now.status, world.invoices(made)[-1].amount_paid) == ("active", 1550)


# Pause, cancel ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behavior", "status"),
    [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")],
)
def test_collection_is_paused_and_goes_on_by_itself(world, behavior, status):
    made = world.subscribe(world.price(1000))
    world.client.v1.subscriptions.update(
        made.id, {"pause_collection": {"behavior": behavior, "resumes_at": at(2026, 2, 10)}}
    )
    world.advance(at(2026, 2, 1, 1))
    assert world.now(made).status == "active"
    assert world.invoices(made)[-1].status == status
    world.advance(at(2026, 3, 1, 1))
    assert world.now(made).pause_collection is None
    assert [one.status for one in world.invoices(made)] == ["paid", status, "paid"]
    assert len(world.sandbox.objects("charge")) == 2


def test_a_cancellation_at_the_end_of_the_period_can_be_taken_back(world):
    made = world.subscribe(world.price(1000))
    update = world.client.v1.subscriptions.update
    leaving = update(made.id, {"cancel_at_period_end": True})
    assert (leaving.cancel_at, leaving.canceled_at) == (at(2026, 2, 1), START)
    staying = update(made.id, {"cancel_at_period_end": False})
    assert (staying.cancel_at, staying.canceled_at) == (None, None)
    update(made.id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError) as none:
        world.client.v1.invoices.create_preview({"subscription": made.id})
    assert none.value.code == "invoice_upcoming_none"
    world.advance(at(2026, 2, 2))
    gone = world.now(made)
    assert (gone.status, gone.ended_at) == ("canceled", at(2026, 2, 1))
    assert gone.cancellation_details.reason == "cancellation_requested"
    assert len(world.invoices(made)) == 1
    assert world.client.v1.subscriptions.list({"customer": world.customer}).data == []
    ended = world.client.v1.subscriptions.list({"customer": world.customer, "status": "ended"})
    assert [one.id for one in ended.data] == [made.id]


def test_a_cancellation_now_gives_back_what_is_left_where_that_is_asked_for(world):
    made = world.subscribe(world.price(3100))
    world.advance(START + 15 * DAY + DAY // 2)
    gone = world.client.v1.subscriptions.cancel(
        made.id, {"prorate": True, "invoice_now": True,
                  "cancellation_details": {"feedback": "too_expensive"}}
    )  # fmt: skip
    assert (gone.status, gone.cancellation_details.feedback) == ("canceled", "too_expensive")
    assert world.client.v1.customers.retrieve(world.customer).balance == -1550
    with pytest.raises(stripe.InvalidRequestError) as refused:
        world.client.v1.subscriptions.cancel(made.id)
    assert refused.value.http_status == 404
    world.far(at(2026, 6, 1))
    assert len(world.sandbox.objects("charge")) == 1


def test_a_customer_that_is_deleted_takes_its_subscriptions_along(world):
    made = world.subscribe(world.price(1000))
    world.client.v1.customers.delete(world.customer)
    assert world.now(made).status == "canceled"
    assert world.types("customer.")[-2:] == ["customer.subscription.deleted", "customer.deleted"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"collection_method": "send_invoice", "days_until_due": 7}, "does not have"),
        ({"discounts": [{"coupon": "ten"}]}, "does not have coupons"),
        ({"trial_period_days": 900}, "two years"),
        ({"trial_end": START - 1}, "in the future"),
        ({"billing_cycle_anchor": at(2026, 4, 1)}, "next natural billing date"),
        ({"cancel_at": START - 5}, "in the future"),
        ({"cancel_at": START + DAY}, "cut short"),
        ({"default_payment_method": "pm_nobody"}, "No such"),
        ({"items": []}, "items"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(world, params, words):
    with pytest.raises(stripe.InvalidRequestError, match=words):
        world.client.v1.subscriptions.create(
            {"customer": world.customer, "items": [{"price": world.price(1000)}], **params}
        )
    assert world.sandbox.objects("subscription") == []


def test_prices_of_other_currencies_intervals_or_kinds_do_not_go_together(world):
    month, once = world.price(1000), world.client.v1.prices.create(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Once"}}
    ).id  # fmt: skip
    for other, words in (
        (world.price(1000, currency="eur"), "same currency"), (world.price(1, "year"), "intervals"),
        (once, "type=one_time"), (month, "same price"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=words):
            world.client.v1.subscriptions.create(
                {"customer": world.customer, "items": [{"price": month}, {"price": other}]}
            )


def test_one_time_prices_join_the_first_invoice(world):
    fee = world.client.v1.prices.create(
        {"currency": "usd", "unit_amount": 2500, "product_data": {"name": "Set-up"}}
    )
    made = world.subscribe(world.price(1000), add_invoice_items=[{"price": fee.id}])
    assert lines(world.invoices(made)[0]) == [
        ("Set-up", 2500), ("1 × Pro (at $10.00 / month)", 1000)
    ]
    update = world.client.v1.subscriptions.update
    update(made.id, {"add_invoice_items": [{"price": fee.id, "quantity": 2}]})
    assert len(world.invoices(made)) == 1
    now = update(made.id, {
        "add_invoice_items": [{"price": fee.id}], "proration_behavior": "always_invoice"})
    invoice = world.client.v1.invoices.retrieve(now.latest_invoice)
    assert lines(invoice) == [("Set-up", 5000), ("Set-up", 2500)]
    assert world.client.v1.invoice_items.list({"pending": True}).data == []


def test_without_a_test_clock_time_moves_with_the_simulators_own(sandbox, client):
    customer = client.v1.customers.create(
        {"payment_method": "pm_card_visa",
         "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )  # fmt: skip
    price = client.v1.prices.create(
        {"currency": "usd", "unit_amount": 700, "product_data": {"name": "Weekly"},
         "recurring": {"interval": "week"}}
    )  # fmt: skip
    made = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    sandbox.advance(15 * DAY)
    found = client.v1.invoices.list({"subscription": made.id}).data[::-1]
    assert [one.status for one in found] == ["paid"] * 3
    starts = [one.lines.data[0].period.start for one in found]
    assert [b - a for a, b in itertools.pairwise(starts)] == [7 * DAY] * 2
    sandbox.config(clock_offset_s=0)
