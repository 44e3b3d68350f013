"""News of subscriptions that Stripe runs: any version, any order, repeated, lost, of others."""

from __future__ import annotations

import json
import random
from types import SimpleNamespace

import pytest
from provider_run import There
from purchase import signed

from paydesk.flows import inbox
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscriptions as flow
from paydesk.providers.stripe_billing_shapes import of_invoice, of_subscription
from paydesk.rules.money import USD
from paydesk.worker import Worker

VERSIONS = ["2020-08-27", "2023-10-16", "2025-03-31.basil", None]


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def months_of_a_life(there, heard):
    """A trial, renewals, a card that fails and recovers, an upgrade there, the end; `heard` is
    told after each step."""
    there.plan("pro", credits=100)
    there.plan("max", price=USD("50.00"), credits=300)
    who = there.user()
    sub = there.subscribe(who, trial_days=10)
    there.sim.pay(sub.page_ref)
    heard()
    there.go_on(days=11)
    heard()
    remote = there.sim.objects("subscription")[0]
    card = SimpleNamespace(ref=remote["default_payment_method"])
    there.billing.reissue(card, "chargeCustomerFail")
    there.go_on(days=31)
    heard()
    there.billing.reissue(card, "visa")
    there.go_on(days=9)
    heard()
    # Somebody moves it to the bigger plan there: its price is known from another customer.
    price = there.price_there(5000, lookup_key="max")
    item = remote["items"]["data"][0]["id"]
    there.sim.request("POST", f"/v1/subscriptions/{remote['id']}", {
        "items": [{"id": item, "price": price, "quantity": 1}],
        "proration_behavior": "always_invoice"})  # fmt: skip
    heard()
    there.go_on(days=25)
    heard()
    there.sim.request("POST", f"/v1/subscriptions/{remote['id']}", {"cancel_at_period_end": True})
    heard()
    there.go_on(days=31)
    heard()
    return sub


@pytest.mark.parametrize("version", VERSIONS)
def test_a_life_is_the_same_in_every_version(there, version):
    # C26 S1.16 S1.17 S1.18 S1.19 S1.20 S1.21: current and older shapes of the API
    sub = months_of_a_life(there, lambda: there.deliver(version=version))
    check_life(there, sub)


def check_life(there, sub):
    """What that life comes to, whoever told of it."""
    after = there.look(sub)
    assert (after.state, after.plan_key, after.end_reason) == ("canceled", "max", "requested")
    found = there.billing.invoices(sub)
    assert [one[:2] for one in found] == [
        (0, "paid"), (1, "paid"), (2, "paid"), (None, "paid"), (3, "paid")]  # fmt: skip
    assert [one[2] for one in found[:3]] == [0, 2000, 2000]
    assert 0 < found[3][2] < 3000
    assert found[4][2] == 5000
    whole = sum(one[3] for one in found)
    assert there.billing.books(sub, "revenue") == whole
    items = there.billing.all(
        "select sum(i.amount_minor)::int as lines, max(v.total_minor)::int as total"
        " from invoices v join invoice_items i on i.customer_id = v.customer_id"
        " and i.invoice_id = v.id group by v.id")
    assert all(one["lines"] == one["total"] for one in items)
    types = there.billing.all(
        "select payment_type, state from payments where customer_id = %(c)s order by created_at,"
        " id", c=sub.customer_id)
    assert [row["payment_type"] for row in types] == ["renewal", "renewal", "upgrade", "renewal"]
    assert {row["state"] for row in types} == {"succeeded"}
    assert not there.billing.can(sub, "tier:max")
    assert there.parked() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_in_any_order_and_twice_the_rows_are_the_same(there, seed, version):
    # I2 I3: all at the end, shuffled, repeated; what is laid down first is all there is
    held = months_of_a_life(there, lambda: None)
    whole = random.Random(seed)
    found = there.waiting(version) * 2
    whole.shuffle(found)
    for one in found:
        there.receive(one)
    check_life(there, held)
    first = there.rows(held)
    whole.shuffle(found)
    for one in found:
        there.receive(one)
    for row in there.billing.all("select event_id from provider_events"):
        inbox.replay(there.env, "stripe", "", row["event_id"])
    assert there.rows(held) == first


def test_told_as_it_happens_or_all_at_the_end_it_comes_to_the_same(there, seed):
    # Two customers live the same life on one clock; of one, nothing is heard until its end.
    there.plan("pro", credits=100)
    told, late = there.user(), there.user()
    subs = [there.subscribe(one) for one in (told, late)]
    for one in subs:
        there.sim.pay(one.page_ref)
    theirs = there.ref(late)

    def deliver(everything: bool) -> None:
        found = [one for one in there.waiting() if everything or theirs not in one.body.decode()]
        random.Random(seed).shuffle(found)
        for one in found:
            there.receive(one)

    for _ in range(3):
        deliver(False)
        there.go_on(days=31, hours=2)
    deliver(True)
    rows = [there.rows(one) for one in subs]
    for name, columns in (("invoices", slice(1, 12)), ("payments", slice(1, None)),
                          ("transfers", slice(None))):  # fmt: skip
        told_rows, late_rows = (sorted((row[columns] for row in found[name]), key=str)
                                for found in rows)  # fmt: skip
        # What is over by then is not given late: credits of past months.
        assert [one for one in told_rows if "CREDIT" not in one] == [
            one for one in late_rows if "CREDIT" not in one], name  # fmt: skip
    assert [one[0][:5] for one in (found["subscription"] for found in rows)] == [
        ("active", 1, 1, 2000, 3)] * 2  # fmt: skip
    assert there.billing.balance(told) == there.billing.balance(late) == 100
    assert there.billing.can(late, "tier:pro")


def test_an_old_shape_says_what_a_new_one_says(there):
    # C26: the period on items or on the subscription, `parent` or `subscription`, and so on
    there.plan("pro", credits=100)
    there.plan("max", price=USD("50.00"))
    months_of_a_life(there, lambda: None)
    new = {one.event_id: one.event for one in there.sim.deliveries()}
    looked = 0
    for version in VERSIONS[:2]:
        for one in there.sim.deliveries(version=version):
            inner, newer = one.event["data"]["object"], new[one.event_id]["data"]["object"]
            if inner["object"] == "subscription":
                assert of_subscription(inner) == of_subscription(newer)
                looked += 1
            elif inner["object"] == "invoice" and one.type != "invoice.upcoming":
                old, now = of_invoice(inner), of_invoice(newer)
                assert {**vars(old), "payments": ()} == {**vars(now), "payments": ()}
                assert old.payments or old.state != "paid" or not old.due
                looked += 1
    assert looked > 40


def test_what_was_lost_is_made_up_for_by_looking(there):
    # Nothing at all was delivered: the page's customer is found by the sweeps.
    there.plan("pro")
    sub = there.subscribe(there.user())
    there.sim.pay(sub.page_ref)
    Worker(there.env).run_once("provider_subscriptions")
    assert there.look(sub).state == "active"
    there.go_on(days=31, hours=4)
    Worker(there.env).run_once("provider_billing")
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]
    remote = there.look(sub).provider_ref
    there.sim.request("DELETE", f"/v1/subscriptions/{remote}")
    there.billing.clock.advance(days=1, minutes=1)
    Worker(there.env).run_once("provider_billing")
    assert there.look(sub).state == "canceled"


def test_a_page_whose_end_was_lost_is_given_up(there):
    there.plan("pro")
    sub = there.subscribe(there.user(on_clock=False))
    there.sim.request("POST", f"/v1/checkout/sessions/{sub.page_ref}/expire")
    there.billing.clock.advance(hours=24)
    Worker(there.env).run_once("provider_billing")
    assert there.look(sub).state == "expired"


def test_one_begun_there_is_taken_up(there):
    # S1.54 C22: a price made in the dashboard, known by its lookup key or metadata
    there.plan("pro", credits=100)
    who = there.user()
    there.card(who)
    there.begin_there(who, there.price_there(metadata={"paydesk_key": "pro"}))
    there.deliver()
    (sub,) = flow.list_(there.env, who.uuid)
    assert (sub.state, sub.runner, sub.plan_key, sub.price) == (
        "active", "provider", "pro", USD("20.00"))  # fmt: skip
    assert there.billing.can(who, "tier:pro")
    assert there.billing.balance(who) == 100
    there.months()
    assert [one[1] for one in there.billing.invoices(sub)] == ["paid", "paid"]


def test_a_price_of_no_plan_waits_visibly_and_is_replayed(there):
    # Nothing is lost: once the plan is there, a replay takes it up, with its money.
    there.plan("pro")
    there.subscribe(there.user())  # The desk sells by Stripe's prices.
    who = there.user()
    there.card(who)
    there.begin_there(who, there.price_there(3000, lookup_key="gold"))
    there.deliver()
    assert flow.list_(there.env, who.uuid) == []
    for _ in range(12):
        there.billing.clock.advance(hours=2)
        inbox.apply_waiting(there.env)
    stuck = there.billing.all(
        "select event_id, state, error from provider_events"
        " where type like 'customer.subscription%%' and state <> 'done'")
    assert {row["state"] for row in stuck} == {"parked"}
    assert all("No plan is known" in row["error"] for row in stuck)
    there.plan("gold", price=USD("30.00"), family="metals")
    for row in stuck:
        assert inbox.replay(there.env, "stripe", "", row["event_id"]) == "done"
    (sub,) = flow.list_(there.env, who.uuid)
    assert (sub.state, sub.plan_key) == ("active", "gold")
    assert there.billing.books(who, "revenue") == 3000


def test_a_strangers_subscription_is_left_alone(there):
    # Another program's customer on the same account.
    there.plan("pro")
    stranger = there.sim.request("POST", "/v1/customers", {})["id"]
    method = there.sim.request("POST", "/v1/payment_methods/pm_card_visa/attach",
                               {"customer": stranger})  # fmt: skip
    there.sim.request("POST", "/v1/subscriptions", {
        "customer": stranger, "items": [{"price": there.price_there(lookup_key="pro")}],
        "default_payment_method": method["id"]})  # fmt: skip
    there.deliver()
    there.billing.clock.advance(minutes=20)
    inbox.apply_waiting(there.env)
    news.discover(there.env)
    assert there.billing.all("select id from subscriptions") == []
    rows = there.billing.all(
        "select state, error from provider_events where type like 'customer.subscription%%'")
    assert rows and all(row["state"] == "done" and "another program" in row["error"]
                        for row in rows)  # fmt: skip


def test_a_second_one_of_a_family_is_flagged_and_comes_home(there):
    # I21: Stripe says that two run: both are recorded, each opens what is paid for
    there.plan("pro")
    there.plan("max", price=USD("50.00"))
    who = there.user()
    first = there.begin(who)
    there.card(who)
    there.begin_there(who, there.price_there(5000, lookup_key="max"))
    there.deliver()
    second = next(one for one in flow.list_(there.env, who.uuid) if one.id != first.id)
    assert (there.look(first).state, second.state) == ("active", "active")
    assert (first.family, second.family.partition("+")[0]) == ("app", "app")
    assert second.family != "app"
    assert "doubled" in there.billing.events(second)
    assert there.billing.can(who, "tier:pro")
    assert there.billing.can(who, "tier:max")
    there.sim.request("DELETE", f"/v1/subscriptions/{first.provider_ref}")
    there.deliver()
    assert there.look(first).state == "canceled"
    assert there.billing.can(who, "tier:max")
    assert not there.billing.can(who, "tier:pro")
    there.months()
    after = there.look(second)
    assert (after.family, after.state) == ("app", "active")


def test_beside_our_own_engines_one_it_is_flagged_too(there):
    there.plan("pro")
    who = there.user()
    there.billing.card(who)
    own = there.billing.subscribe(who)
    assert own.state == "active"
    there.card(who)
    there.begin_there(who, there.price_there(lookup_key="pro"))
    there.deliver()
    found = flow.list_(there.env, who.uuid)
    assert sorted((one.runner, one.state) for one in found) == [
        ("paydesk", "active"), ("provider", "active")]  # fmt: skip


def test_an_invoice_paid_by_hand_or_given_up_there(there):
    # S1.50: void and uncollectible are Stripe's words; what is paid outside brings no money here
    there.plan("pro")
    sub = there.begin(there.user())
    there.billing.reissue(
        SimpleNamespace(ref=there.remote(sub)["default_payment_method"]), "chargeCustomerFail"
    )
    there.months()
    (open_,) = [one for one in there.sim.objects("invoice") if one["status"] == "open"]
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/mark_uncollectible")
    there.deliver()
    assert there.billing.invoices(sub)[-1][:2] == (1, "uncollectible")
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/pay", {"paid_out_of_band": True})
    there.deliver()
    assert there.billing.invoices(sub)[-1][:2] == (1, "paid")
    assert there.billing.books(sub, "revenue") == 2000
    assert there.look(sub).state == "active"
    shown = there.billing.all("select status, amount_paid from learning.invoices"
                              " order by created_at")  # fmt: skip
    assert [(row["status"], int(row["amount_paid"])) for row in shown] == [("paid", 20)] * 2


def test_an_invoice_of_no_subscription_is_recorded_for_a_known_customer(there):
    who = there.user()
    there.card(who)
    ref = there.ref(who)
    there.sim.request("POST", "/v1/invoiceitems", {
        "customer": ref, "amount": 1500, "currency": "usd", "description": "Set-up"})  # fmt: skip
    made = there.sim.request("POST", "/v1/invoices", {
        "customer": ref, "pending_invoice_items_behavior": "include"})  # fmt: skip
    there.sim.request("POST", f"/v1/invoices/{made['id']}/finalize")
    there.sim.request("POST", f"/v1/invoices/{made['id']}/pay")
    there.deliver()
    (row,) = there.billing.all("select state, reason, total_minor, runner from invoices")
    assert tuple(row.values()) == ("paid", "manual", 1500, "provider")
    assert there.billing.books(who, "revenue") == 1500


def captured(body, **changes):
    """An event as it was captured of another account: the same, under names nobody has here."""
    event = json.loads(body)
    text = json.dumps(event)
    for old, new in changes.items():
        text = text.replace(old, new)
    return text.encode()


@pytest.mark.parametrize("version", VERSIONS)
def test_events_of_objects_that_are_gone_speak_for_themselves(there, seed, version):
    # A signed event is proof where Stripe has the object no more: in any order.
    there.plan("pro", credits=100)
    who = there.user()
    there.card(who)
    remote = there.begin_there(who, there.price_there(lookup_key="pro"))
    there.go_on(days=31, hours=2)
    there.sim.request("DELETE", f"/v1/subscriptions/{remote['id']}")
    ids = [one["id"] for kind in ("subscription", "invoice", "payment_intent")
           for one in there.sim.objects(kind)]  # fmt: skip
    renamed = {one: one[:-4] + "gone" for one in ids}
    found = [captured(one.body, **renamed) for one in there.waiting(version)
             if one.type.startswith(("customer.subscription", "invoice."))]  # fmt: skip
    random.Random(seed).shuffle(found)
    for body in found * 2:
        inbox.receive(there.env, "stripe", body, signed(body))
    for _ in range(4):
        there.billing.clock.advance(minutes=5)
        inbox.apply_waiting(there.env)
    (sub,) = flow.list_(there.env, who.uuid)
    assert (sub.state, sub.provider_ref) == ("canceled", renamed[remote["id"]])
    assert sorted(one[1:] for one in there.billing.invoices(sub)) == [("paid", 2000, 2000)] * 2
    assert there.billing.payments(sub) == ["succeeded", "succeeded"]
    assert there.billing.books(who, "revenue") == 4000
    assert not there.billing.can(who, "tier:pro")
