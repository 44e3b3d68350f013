"""Several items, what is billed in other ways than ahead, and what is active without a payment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from provider_run import There

from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscriptions as flow
from paydesk.providers.billing import RemoteLine
from paydesk.providers.stripe_billing_shapes import of_invoice, of_subscription
from paydesk.rules.money import USD


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def told(there):
    """Let Stripe answer otherwise than its simulator can: {method: what is made of its answer}."""
    call = there.env.providers.call

    def instead(**changes):
        def ask(name, method, *args, **more):
            found = call(name, method, *args, **more)
            return changes[method](found) if method in changes else found

        there.env.providers.call = ask

    yield instead
    there.env.providers.__dict__.pop("call", None)


def begun(there, *, plan="pro", items=(), **more):
    """A customer with a card, and a subscription that somebody began at Stripe: both."""
    who = there.user()
    there.card(who)
    given = {"items": [{"price": one} for one in items]} if items else {}
    price = items[0] if items else there.price_there(lookup_key=plan)
    return who, there.begin_there(who, price, **given, **more)


def of(there, who):
    (sub,) = flow.list_(there.env, who.uuid)
    return sub


def look(there, who):
    news.look(there.env, who.uuid, of(there, who).id)


def cycles(there, sub):
    return [one[0] for one in there.billing.invoices(sub)]


# Active, and nothing was paid -------------------------------------------------------------------


@pytest.mark.parametrize("is_billed", [True, False])
def test_a_free_time_before_the_first_billing_date_is_open(there, told, is_billed):
    # S1.20: Stripe calls it active, and bills nothing of it or makes no invoice at all
    there.plan("pro", grace_days=0, credits=100)
    if not is_billed:
        told(fetch_subscription=lambda found: replace(found, latest_invoice=None),
             list_invoices=lambda found: [])  # fmt: skip
    at = int((there.env.now() + timedelta(days=20)).timestamp())
    who, _ = begun(there, proration_behavior="none", billing_cycle_anchor=at)
    there.deliver()
    assert of(there, who).state == "active"
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 0
    told()
    there.go_on(days=20, minutes=30)  # The first one is a draft: it pays for nothing.
    there.deliver()
    assert not there.billing.can(who, "tier:pro")
    there.go_on(hours=1)
    there.deliver()
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 100


def test_an_invoice_that_is_sent_is_waited_for_until_it_is_due(there, told):
    # S1.20: active at once at Stripe, past due after the date, and open again when paid
    there.plan("pro", grace_days=1, credits=100)
    due = there.env.now() + timedelta(days=14)
    sent = {"fetch_subscription": lambda found: replace(found, is_sent=True)}
    told(**sent, list_invoices=lambda found: [])  # A draft for an hour.
    who, _ = begun(there)
    there.deliver()
    assert there.billing.can(who, "tier:pro")
    told(**sent, list_invoices=lambda found: [
        replace(one, state="open", due_at=due, payments=(), paid=0, paid_at=None) for one in found])
    look(there, who)
    (row,) = there.billing.all("select state, due_at from invoices")
    assert (row["state"], row["due_at"]) == ("open", due)
    there.go_on(days=14, hours=20)
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 0
    there.go_on(hours=6)
    assert not there.billing.can(who, "tier:pro")
    told(**sent)
    look(there, who)
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 100


def declining(there, **plan):
    """A paid month whose renewal is a draft, that will be declined."""
    there.plan("pro", grace_days=0, **plan)
    sub = there.begin(there.user())
    method = SimpleNamespace(ref=there.remote(sub)["default_payment_method"])
    there.billing.reissue(method, "chargeCustomerFail")
    left = sub.period_end - there.env.now()
    there.go_on(seconds=int(left.total_seconds()) + 300)
    there.deliver()
    assert there.look(sub).state == "active" and not there.billing.can(sub, "tier:pro")
    return sub


def test_a_change_while_the_renewal_is_a_draft_opens_no_period(there):
    # S1.21: what the change billed says nothing of the period
    there.plan("lite", price=USD("5.00"), grace_days=0, grants=["tier:pro"])
    sub = declining(there, price=USD("40.00"))
    changes.change(there.env, sub.customer_id, sub.id, plan="lite", at="now")
    changes.cancel(there.env, sub.customer_id, sub.id, at="period_end")
    there.deliver()
    drafts = [one for one in there.sim.objects("invoice") if one["status"] == "draft"]
    assert drafts and there.remote(sub)["latest_invoice"] != drafts[0]["id"]
    assert not there.billing.can(sub, "tier:pro")
    there.go_on(hours=2)
    there.deliver()
    assert (1, "open", 4000, 500) in there.billing.invoices(sub)
    assert not there.billing.can(sub, "tier:pro")


def test_what_was_taken_for_free_is_shut_when_its_invoice_is_not_paid(there, told):
    # S1.21: it was heard of no invoice at first
    sub = declining(there)
    told(fetch_subscription=lambda found: replace(found, latest_invoice=None),
         list_invoices=lambda found: [one for one in found if one.state != "draft"])  # fmt: skip
    news.look(there.env, sub.customer_id, sub.id)
    assert there.billing.can(sub, "tier:pro")
    told()
    there.go_on(hours=2)
    there.deliver()
    assert there.billing.invoices(sub)[-1][:2] == (1, "open")
    assert not there.billing.can(sub, "tier:pro")
    there.billing.reissue(
        SimpleNamespace(ref=there.remote(sub)["default_payment_method"]), "visa"
    )
    (open_,) = [one for one in there.sim.objects("invoice") if one["status"] == "open"]
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/pay")
    there.deliver()
    assert there.billing.can(sub, "tier:pro")


@pytest.mark.parametrize("state", ["uncollectible", "void", "open"])
def test_what_was_given_up_opens_nothing_though_it_is_active(there, told, state):
    # S1.21: the period was neither paid nor is it free
    there.plan("pro", grace_days=0)
    told(list_invoices=lambda found: [
        replace(one, state=state, payments=(), paid=0, paid_at=None) for one in found])
    who, _ = begun(there)
    there.deliver()
    assert of(there, who).state == "active"
    assert not there.billing.can(who, "tier:pro")


def used_before(found):
    """Invoices of what was used: but the first, each bills the period that is over."""
    def moved(period):
        return period[0] - timedelta(days=31), period[0]

    return [one if one.reason == "subscription_create" else replace(
        one, period=moved(one.period),
        lines=tuple(replace(line, period=moved(line.period)) for line in one.lines))
        for one in found]  # fmt: skip


def test_what_is_billed_when_it_was_used_opens_the_period_that_runs(there, told):
    # S1.17: an invoice of the month before is counted with the month that begins
    there.plan("pro", grace_days=3, credits=100)
    told(list_invoices=used_before)
    who, _ = begun(there)
    there.deliver()
    for month in (1, 2):
        there.months()
        sub = of(there, who)
        assert (sub.state, sub.period) == ("active", month)
        there.go_on(days=15)
        assert there.billing.can(who, "tier:pro")
        assert there.billing.balance(who) == 100
        there.billing.clock.advance(days=-15)  # Months are counted from their first days.
    assert cycles(there, of(there, who)) == [0, 1, 2]
    rows = there.billing.all("select period_end, created_at from invoices order by created_at")
    assert [row["period_end"] <= row["created_at"] for row in rows] == [False, True, True]


def test_a_metered_quantity_of_any_size_is_recorded(there, told):
    # S1.46: so many calls of an interface were used
    there.plan("pro")
    told(list_invoices=lambda found: [replace(one, lines=tuple(
        replace(line, quantity=5_000_000_000) for line in one.lines))
        for one in found])  # fmt: skip
    who, _ = begun(there)
    there.deliver()
    (row,) = there.billing.all("select quantity, amount_minor, why from invoice_items")
    assert (row["quantity"], row["amount_minor"]) == (2**31 - 1, 2000)
    assert row["why"]["quantity"] == 5_000_000_000
    assert there.billing.can(who, "tier:pro")


def test_a_line_says_which_item_it_charges_in_every_shape(there):
    # C26: `subscription_item` on the line, or in its `parent`
    there.plan("pro")
    there.begin(there.user())
    for version in ("2020-08-27", "2023-10-16", None):
        (one,) = [one.event["data"]["object"] for one in
                  there.sim.deliveries("invoice.paid", version=version)]  # fmt: skip
        (line,) = of_invoice(one).lines
        assert line.item == there.sim.objects("subscription")[0]["items"]["data"][0]["id"]


# Several items ----------------------------------------------------------------------------------


def test_other_items_are_listed_and_change_nothing_else(there):
    # S1.50: support that is sold beside the plan stands on its invoices with its own words
    there.plan("pro", credits=100)
    extra = there.price_there(500)
    who, _ = begun(there, items=(extra, there.price_there(lookup_key="pro")))
    there.deliver()
    sub = of(there, who)
    assert (sub.plan_key, sub.state, sub.price) == ("pro", "active", USD("20.00"))
    there.months()
    sub = of(there, who)
    assert there.billing.invoices(sub) == [(0, "paid", 2500, 2500), (1, "paid", 2500, 2500)]
    lines = there.billing.all(
        "select kind, description, amount_minor, plan_id is not null as is_plan"
        " from invoice_items order by amount_minor, id")
    assert [(row["kind"], row["amount_minor"], row["is_plan"]) for row in lines] == [
        ("one_off", 500, False)] * 2 + [("recurring", 2000, True)] * 2  # fmt: skip
    assert all("Made there" in row["description"] for row in lines[:2])
    assert there.billing.balance(who) == 100
    assert there.billing.books(who, "revenue") == 5000
    assert there.parked() == []


def test_a_second_plan_beside_the_first_does_not_take_its_place(there, told):
    # S1.20: the item that was sold stays the plan, in whatever order they are listed
    there.plan("pro", credits=100)
    there.plan("max", price=USD("50.00"), credits=300)
    who, remote = begun(there)
    there.deliver()
    there.sim.request("POST", f"/v1/subscriptions/{remote['id']}", {
        "items": [{"price": there.price_there(5000, lookup_key="max")}],
        "proration_behavior": "none"})  # fmt: skip
    told(fetch_subscription=lambda found: replace(found, items=found.items[::-1]))
    there.deliver()
    there.months()
    sub = of(there, who)
    assert (sub.plan_key, sub.price, sub.period) == ("pro", USD("20.00"), 1)
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 7000, 7000)]
    assert there.billing.balance(who) == 100
    assert there.billing.can(who, "tier:pro") and not there.billing.can(who, "tier:max")


def test_an_item_with_another_interval_begins_no_period(there, told):
    # S1.16 S1.17: a year that was sold, and something beside it that is billed each month
    there.plan("pro", price=USD("120.00"), interval="year", credits=0)
    who, _ = begun(there, items=(there.price_there(12000, "year", lookup_key="pro"),))
    there.deliver()
    sub = of(there, who)
    whole = sub.period_start, sub.period_end
    there.go_on(days=31)
    now = there.env.now().replace(microsecond=0)
    month = now, now + timedelta(days=31)

    def with_other(found):
        other = replace(found.items[0], id="si_other", price="price_other", period=month)
        return replace(found, items=(other, *found.items), period_start=month[0],
                       period_end=month[1])  # fmt: skip

    def with_its_invoice(found):
        (line,) = found[0].lines
        return [*found[:1], replace(
            found[0], id="in_other", number="OTHER-1", created_at=now, payments=(), due=0, paid=0,
            total=0, subtotal=0, reason="subscription_cycle", period=month,
            lines=(replace(line, amount_minor=0, item="si_other", price="price_other",
                           description="Support", period=month),))]  # fmt: skip

    told(fetch_subscription=with_other, list_invoices=with_its_invoice)
    look(there, who)
    after = of(there, who)
    assert (after.period, (after.period_start, after.period_end)) == (0, whole)
    assert [one[0] for one in there.billing.invoices(after)] == [0, None]
    assert there.billing.events(after).count("renewed") == 0
    there.go_on(days=200)
    assert there.billing.can(who, "tier:pro")


# Numbers of periods ----------------------------------------------------------------------------


def test_a_period_that_was_refused_at_first_has_the_number_that_was_left(there, told):
    # S1.16 I3: the one after it was laid down already
    there.plan("pro", credits=100)
    who, _ = begun(there)
    there.deliver()

    late = there.env.now() + timedelta(days=40)
    told(list_invoices=lambda found: [
        replace(one, reason="nope") if one.reason != "subscription_create"
        and one.created_at < late else one for one in found])
    there.months(2)
    sub = of(there, who)
    assert cycles(there, sub) == [0, 2]
    told()
    look(there, who)
    assert cycles(there, sub) == [0, 1, 2]
    assert there.parked() == []


# Shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2020-08-27", "2023-10-16", "2025-03-31.basil", None])
def test_an_item_has_its_period_in_every_shape(there, version):
    # C26: on the item, or on the subscription; and how its invoices are paid
    there.plan("pro")
    there.begin(there.user())
    (one,) = there.sim.deliveries("customer.subscription.created", version=version)
    found = of_subscription(one.event["data"]["object"])
    (item,) = found.items
    assert item.period == (found.period_start, found.period_end)
    assert not found.is_sent
    sent = {**one.event["data"]["object"], "collection_method": "send_invoice"}
    assert of_subscription(sent).is_sent


def test_the_months_of_a_free_time_give_no_credits(there, told):
    # S1.17 I22: nothing of it was sold, however many months it has, whatever its line is called
    there.plan("year", price=USD("120.00"), interval="year", credits=50)
    first = there.env.now() + timedelta(days=100)
    at = int(first.timestamp())

    def with_a_line(one):
        period = (one.created_at, first)
        return one if one.total else replace(one, period=period, lines=(RemoteLine(
            kind="recurring", description="Time", amount_minor=0, period=period),))  # fmt: skip

    told(list_invoices=lambda found: [with_a_line(one) for one in found])
    who, _ = begun(there, items=(there.price_there(12000, "year", lookup_key="year"),),
                   proration_behavior="none", billing_cycle_anchor=at)  # fmt: skip
    there.deliver()
    there.go_on(days=70)
    there.deliver()
    there.billing.renew()
    assert there.billing.can(who, "tier:year")
    assert cycles(there, of(there, who)) == [0]
    assert there.billing.all("select * from batches") == []
    there.go_on(days=30, hours=2)
    there.deliver()
    assert there.billing.balance(who) == 50
