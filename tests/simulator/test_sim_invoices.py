"""Invoices, their items and their page, through the official SDK."""

from __future__ import annotations

import re

import pytest
import stripe
from billing_support import DAY, HOUR, START, World, at, lines

DECLINED, SECURED = "4000000000000002", "4000002760003184"


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


def drafted(world, *amounts, **more):
    """A draft of one-off items."""
    invoice = world.client.v1.invoices.create({"customer": world.customer, **more})
    for number, amount in enumerate(amounts, 1):
        world.client.v1.invoice_items.create(
            {"customer": world.customer, "invoice": invoice.id, "amount": amount,
             "currency": "usd", "description": f"Item {number}"}
        )  # fmt: skip
    return world.client.v1.invoices.retrieve(invoice.id)


def opened(world, *amounts, **more):
    return world.client.v1.invoices.finalize_invoice(drafted(world, *amounts, **more).id)


def test_an_invoice_is_drafted_made_final_and_paid(world):
    draft = drafted(world, 1999, 501, -100)
    assert (draft.status, draft.number, draft.hosted_invoice_url) == ("draft", None, None)
    assert (draft.subtotal, draft.total, draft.amount_due) == (2400, 2400, 2400)
    final = world.client.v1.invoices.finalize_invoice(draft.id)
    assert final.number.endswith("-0001")
    paid = world.client.v1.invoices.pay(final.id)
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 2400, 0)
    assert world.types("invoice.", "invoice_payment")[-5:] == [
        "invoice.updated", "invoice.finalized", "invoice_payment.paid", "invoice.paid",
        "invoice.payment_succeeded",
    ]  # fmt: skip
    payments = world.client.v1.invoice_payments.list({"invoice": paid.id}).data
    assert [(one.status, one.amount_paid) for one in payments] == [("paid", 2400)]
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        world.client.v1.invoices.pay(paid.id)


def test_items_wait_for_an_invoice_and_go_back_when_its_draft_is_deleted(world):
    item = world.client.v1.invoice_items.create(
        {"customer": world.customer, "amount": 700, "currency": "usd", "description": "Hours"}
    )
    draft = world.client.v1.invoices.create(
        {"customer": world.customer, "pending_invoice_items_behavior": "include"}
    )
    assert lines(draft) == [("Hours", 700)]
    assert world.client.v1.invoice_items.retrieve(item.id).invoice == draft.id
    world.client.v1.invoice_items.update(item.id, {"amount": 900})
    assert world.client.v1.invoices.retrieve(draft.id).total == 900
    assert world.client.v1.invoices.delete(draft.id).deleted
    assert world.client.v1.invoice_items.retrieve(item.id).invoice is None
    assert world.client.v1.invoice_items.delete(item.id).deleted
    excluded = world.client.v1.invoices.create({"customer": world.customer})
    assert (excluded.total, excluded.lines.data) == (0, [])


def test_what_is_final_is_not_changed_any_more(world):
    invoice = opened(world, 1000)
    with pytest.raises(stripe.InvalidRequestError, match="can't be updated"):
        world.client.v1.invoices.update(invoice.id, {"number": "X-1"})
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        world.client.v1.invoice_items.create(
            {"customer": world.customer, "invoice": invoice.id, "amount": 1, "currency": "usd"}
        )
    with pytest.raises(stripe.InvalidRequestError, match="draft"):
        world.client.v1.invoices.delete(invoice.id)
    changed = world.client.v1.invoices.update(invoice.id, {"metadata": {"order": "1042"}})
    assert changed.metadata["order"] == "1042"


def test_more_lines_than_fit_are_listed_in_pages(world):
    invoice = drafted(world, *range(100, 1300, 100))
    assert (len(invoice.lines.data), invoice.lines.has_more) == (10, True)
    listed = [one.amount for one in world.client.v1.invoices.line_items.list(
        invoice.id, {"limit": 5}).auto_paging_iter()]  # fmt: skip
    assert listed == list(range(100, 1300, 100))
    assert invoice.total == sum(listed)


@pytest.mark.parametrize(("currency", "amount"), [("jpy", 1000), ("kwd", 12_345), ("eur", 999)])
def test_sums_are_exact_in_currencies_of_other_digits(sandbox, client, currency, amount):
    world = World(sandbox, client)
    made = world.subscribe(world.price(amount, currency=currency), quantity=7)
    world.advance(START + 1_111_111)
    item = made["items"].data[0].id
    changed = client.v1.subscriptions.update(
        made.id, {"items": [{"id": item, "quantity": 9}], "proration_behavior": "always_invoice"}
    )
    invoice = client.v1.invoices.retrieve(changed.latest_invoice)
    left, whole = 31 * DAY - 1_111_111, 31 * DAY
    shares = [(2 * amount * n * left + whole) // (2 * whole) for n in (7, 9)]
    assert [one.amount for one in invoice.lines.data] == [-shares[0], shares[1]]
    assert invoice.total == invoice.amount_paid == sum(one.amount for one in invoice.lines.data)


def test_a_voided_invoice_gives_the_balance_back(world):
    world.client.v1.customers.update(world.customer, {"balance": -600})
    invoice = opened(world, 1000)
    assert (invoice.starting_balance, invoice.ending_balance, invoice.amount_due) == (-600, 0, 400)
    assert world.client.v1.customers.retrieve(world.customer).balance == 0
    assert world.client.v1.invoices.void_invoice(invoice.id).status == "void"
    assert world.client.v1.customers.retrieve(world.customer).balance == -600
    with pytest.raises(stripe.InvalidRequestError, match="open or uncollectible"):
        world.client.v1.invoices.void_invoice(invoice.id)


def test_an_uncollectible_invoice_can_still_be_paid(world):
    invoice = opened(world, 1000)
    given_up = world.client.v1.invoices.mark_uncollectible(invoice.id)
    assert given_up.status == "uncollectible"
    assert world.client.v1.invoices.pay(invoice.id).status == "paid"
    types = world.types("invoice.")
    assert types.index("invoice.marked_uncollectible") < types.index("invoice.paid")


def test_an_invoice_paid_in_another_way_charges_nothing(world):
    invoice = opened(world, 1000)
    paid = world.client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 1000, 0)
    listed = world.client.v1.invoice_payments.list({"invoice": invoice.id})
    assert sorted((one.payment.type, one.status, one.amount_paid) for one in listed) == [
        ("payment_intent", "canceled", None), ("payment_record", "paid", 1000)]  # fmt: skip
    (event,) = world.sandbox.events("invoice.paid")
    assert event["data"]["object"]["amount_paid_off_stripe"] == 0
    asked = world.client.v1.invoices.retrieve(invoice.id, {"expand": ["amount_paid_off_stripe"]})
    assert (paid.amount_paid_off_stripe, asked.amount_paid_off_stripe) == (0, 1000)
    assert world.sandbox.objects("charge") == []
    told = world.sandbox.deliveries("invoice.paid", version="2023-10-16")[-1].event
    assert told["data"]["object"]["paid_out_of_band"] is True


def test_several_payments_pay_one_invoice(world):
    invoice = opened(world, 1000)
    (own,) = world.sandbox.objects("payment_intent")
    parts = [world.client.v1.payment_intents.create({
        "amount": amount, "currency": "usd", "customer": world.customer, "confirm": True,
        "payment_method": world.card("pm_card_visa"), "payment_method_types": ["card"],
    }) for amount in (600, 300)]  # fmt: skip
    for part in parts:
        now = world.client.v1.invoices.attach_payment(invoice.id, {"payment_intent": part.id})
    assert (now.status, now.amount_paid, now.amount_remaining) == ("open", 900, 100)
    assert world.sandbox.get(own["id"])["amount"] == 100
    paid = world.client.v1.invoices.pay(invoice.id)
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 1000, 0)
    listed = world.client.v1.invoice_payments.list({"invoice": invoice.id})
    assert sorted(one.amount_paid for one in listed) == [100, 300, 600]
    assert {one.status for one in listed} == {"paid"}
    with pytest.raises(stripe.InvalidRequestError, match="nothing pays it any more"):
        world.client.v1.invoices.attach_payment(invoice.id, {"payment_intent": parts[0].id})


def test_an_attached_payment_that_pays_all_lets_the_invoices_own_intent_go(world):
    invoice = opened(world, 1000)
    (own,) = world.sandbox.objects("payment_intent")
    whole = world.client.v1.payment_intents.create({
        "amount": 1000, "currency": "usd", "customer": world.customer, "confirm": True,
        "payment_method": world.card("pm_card_visa"), "payment_method_types": ["card"],
    })  # fmt: skip
    paid = world.client.v1.invoices.attach_payment(invoice.id, {"payment_intent": whole.id})
    assert (paid.status, paid.amount_paid) == ("paid", 1000)
    assert world.sandbox.get(own["id"])["status"] == "canceled"


def test_a_declined_payment_is_told_and_can_be_made_again(world):
    bad = world.card("pm_card_chargeCustomerFail")
    invoice = opened(world, 1000)
    with pytest.raises(stripe.CardError) as refused:
        world.client.v1.invoices.pay(invoice.id, {"payment_method": bad})
    assert refused.value.code == "card_declined"
    now = world.client.v1.invoices.retrieve(invoice.id)
    assert (now.status, now.attempt_count, now.attempted) == ("open", 1, True)
    assert world.client.v1.customers.retrieve(world.customer).delinquent
    good = world.card("pm_card_visa")
    paid = world.client.v1.invoices.pay(invoice.id, {"payment_method": good})
    assert (paid.status, paid.attempt_count) == ("paid", 2)
    assert not world.client.v1.customers.retrieve(world.customer).delinquent
    assert len(world.sandbox.objects("payment_intent")) == 1


def test_a_payment_that_the_bank_wants_confirmed_waits_for_it(world):
    method = world.card("pm_card_authenticationRequired")
    invoice = opened(world, 1000)
    with pytest.raises(stripe.CardError) as refused:
        world.client.v1.invoices.pay(invoice.id, {"payment_method": method, "off_session": False})
    assert refused.value.code == "invoice_payment_intent_requires_action"
    assert len(world.sandbox.events("invoice.payment_action_required")) == 1
    (intent,) = world.sandbox.objects("payment_intent")
    world.sandbox.authenticate(intent["id"])
    assert world.client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_the_intent_of_an_invoice_is_not_canceled_apart_from_it(world):
    opened(world, 1000)
    (intent,) = world.sandbox.objects("payment_intent")
    with pytest.raises(stripe.InvalidRequestError, match="created by an Invoice"):
        world.client.v1.payment_intents.cancel(intent["id"])


def test_a_draft_that_advances_by_itself_is_charged_an_hour_later(world):
    invoice = drafted(world, 1000, auto_advance=True)
    assert invoice.automatically_finalizes_at == START + HOUR
    world.advance(START + HOUR)
    assert world.client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_an_invoice_that_is_sent_waits_for_its_customer(world):
    invoice = drafted(world, 1000, collection_method="send_invoice", days_until_due=14)
    assert invoice.due_date == START + 14 * DAY
    sent = world.client.v1.invoices.send_invoice(invoice.id)
    assert sent.status == "open"
    world.advance(START + 30 * DAY)
    assert world.client.v1.invoices.retrieve(invoice.id).attempt_count == 0
    assert world.types("invoice.")[-2:] == ["invoice.finalized", "invoice.sent"]


def test_invoices_are_found_by_state_number_and_subscription(world):
    made = world.subscribe(world.price(1000))
    other = opened(world, 500)
    listed = world.client.v1.invoices.list
    assert [one.id for one in listed({"status": "open"}).data] == [other.id]
    assert [one.id for one in listed({"subscription": made.id}).data] == [made.latest_invoice]
    query = f"number:'{other.number}' AND status:'open'"
    assert [one.id for one in world.client.v1.invoices.search({"query": query}).data] == [other.id]


def test_a_preview_is_of_what_comes_and_keeps_nothing(world):
    made = world.subscribe(world.price(1000))
    before = world.sandbox.stats()["objects"]
    events = len(world.sandbox.events())
    preview = world.client.v1.invoices.create_preview(
        {"customer": world.customer,
         "invoice_items": [{"amount": 250, "currency": "usd", "description": "Extra"}]}
    )  # fmt: skip
    assert preview.id.startswith("upcoming_in_")
    assert lines(preview) == [("1 × Pro (at $10.00 / month)", 1000), ("Extra", 250)]
    assert preview.period_end == at(2026, 2, 1)
    first = world.client.v1.invoices.create_preview(
        {"customer": world.customer, "subscription_details": {
            "items": [{"price": made["items"].data[0].price.id, "quantity": 3}]}}
    )  # fmt: skip
    assert (first.total, first.billing_reason) == (3000, "subscription_create")
    assert (world.sandbox.stats()["objects"], len(world.sandbox.events())) == (before, events)


# Dunning ------------------------------------------------------------------------------------------


def failing(world, **more):
    """A subscription whose first renewal is declined; returns it after that."""
    made = world.subscribe(world.price(1000), **more)
    world.card("pm_card_chargeCustomerFail")
    world.advance(at(2026, 2, 1, 1))
    return made


def test_a_declined_renewal_is_tried_again_on_fixed_days_and_then_canceled(world):
    made = failing(world)
    assert world.now(made).status == "past_due"
    first = at(2026, 2, 1, 1)
    days = [first, first + 3 * DAY, first + 8 * DAY, first + 15 * DAY]
    assert world.invoices(made)[-1].next_payment_attempt == days[1]
    world.advance(at(2026, 2, 28))
    failed = world.sandbox.events("invoice.payment_failed")
    assert [one["created"] for one in failed] == days
    assert [one["data"]["object"]["attempt_count"] for one in failed] == [1, 2, 3, 4]
    gone = world.now(made)
    assert (gone.status, gone.ended_at) == ("canceled", days[-1])
    assert gone.cancellation_details.reason == "payment_failed"
    assert world.invoices(made)[-1].status == "open"


def test_a_payment_on_the_way_ends_the_attempts(world):
    made = failing(world)
    world.card("pm_card_visa")
    world.advance(at(2026, 2, 4, 1))
    assert (world.now(made).status, world.invoices(made)[-1].status) == ("active", "paid")
    world.advance(at(2026, 2, 27))
    assert len(world.sandbox.events("invoice.payment_failed")) == 1


def test_a_detached_card_is_passed_over_for_the_customers_own(world):
    own = world.client.v1.payment_methods.attach("pm_card_amex", {"customer": world.customer})
    made = world.subscribe(world.price(1000), default_payment_method=own.id)
    world.client.v1.payment_methods.detach(own.id)
    world.advance(at(2026, 2, 1, 1))
    brands = [one["payment_method_details"]["card"]["brand"]
              for one in world.sandbox.objects("charge")]  # fmt: skip
    assert brands == ["amex", "visa"]
    (default,) = world.client.v1.customers.payment_methods.list(world.customer).data
    world.client.v1.payment_methods.detach(default.id)
    world.advance(at(2026, 3, 1, 1))
    assert world.now(made).status == "past_due"
    assert world.invoices(made)[-1].attempt_count == 1


@pytest.mark.parametrize(("after", "status"), [("unpaid", "unpaid"), ("past_due", "past_due")])
def test_what_comes_after_the_attempts_is_a_switch(world, after, status):
    world.sandbox.config(retry_days=[1], after_retries=after)
    made = failing(world)
    world.advance(at(2026, 2, 3))
    assert world.now(made).status == status
    world.advance(at(2026, 3, 1, 2))
    newest = world.invoices(made)[-1]
    assert newest.status == ("draft" if after == "unpaid" else "open")
    world.card("pm_card_visa")
    world.client.v1.invoices.pay(newest.id)
    assert world.now(made).status == "active"


def test_a_renewal_that_needs_its_owner_says_so(world):
    made = world.subscribe(world.price(1000))
    world.card("pm_card_authenticationRequired")
    world.advance(at(2026, 2, 1, 1))
    assert world.now(made).status == "past_due"
    assert world.types("invoice.payment_")[-2:] == [
        "invoice.payment_failed", "invoice.payment_action_required"
    ]
    intent = world.sandbox.objects("payment_intent")[-1]
    world.sandbox.authenticate(intent["id"])
    assert world.now(made).status == "active"
    assert world.invoices(made)[-1].status_transitions.paid_at == at(2026, 2, 1, 1)


@pytest.mark.parametrize(
    "switch", [{"retry_days": "often"}, {"retry_days": [-1]}, {"after_retries": "forget"}]
)
def test_a_switch_of_attempts_that_is_none_is_refused(sandbox, switch):
    with pytest.raises(ValueError, match=next(iter(switch))):
        sandbox.config(**switch)


# The page -----------------------------------------------------------------------------------------


def test_the_page_of_an_invoice_takes_a_card_and_shows_what_was_paid(world, browser):
    invoice = opened(world, 1999)
    page = browser.get(invoice.hosted_invoice_url)
    assert "$19.99" in page.text and "Item 1" in page.text and "<button" in page.text
    refused = browser.post(invoice.hosted_invoice_url, data={"number": DECLINED})
    assert refused.status_code == 402 and "Your card was declined." in refused.text
    done = browser.post(
        invoice.hosted_invoice_url, data={"number": "4242424242424242"}, follow_redirects=True
    )
    assert "This invoice is paid" in done.text and "<button" not in done.text
    again = browser.post(invoice.hosted_invoice_url, data={"number": "4242424242424242"})
    assert again.status_code == 303
    assert [one["status"] for one in world.sandbox.objects("charge")] == ["failed", "succeeded"]


def test_the_page_leads_to_the_bank_where_it_asks(world, browser):
    invoice = opened(world, 1999)
    sent = browser.post(invoice.hosted_invoice_url, data={"number": SECURED})
    assert sent.headers["Location"].startswith("/3d_secure/pi_")
    browser.post(sent.headers["Location"], data={"outcome": "complete"})
    assert world.client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_the_pdf_of_an_invoice_says_what_the_invoice_says(world, browser):
    invoice = opened(world, *([250] * 60), custom_fields=[{"name": "PO", "value": "17"}])
    answer = browser.get(invoice.invoice_pdf)
    assert answer.headers["Content-Type"] == "application/pdf"
    text = answer.content
    assert text.startswith(b"%PDF-1.4") and text.rstrip().endswith(b"%%EOF")
    assert text.count(b"/Type /Page ") == 2
    assert invoice.number.encode() in text and b"$150.00" in text
    place = int(re.search(rb"startxref\n(\d+)", text)[1])
    assert text[place:].startswith(b"xref")
    assert browser.get("/i/in_nothing").status_code == 404
    assert browser.get("/i/in_nothing/pdf").status_code == 404
    assert browser.get(f"/i/{drafted(world, 100).id}").status_code == 404


def test_an_invoice_is_paid_from_a_test_as_on_its_page(world):
    invoice = opened(world, 1999)
    tried = world.sandbox.act("pay_invoice", invoice=invoice.id, card=DECLINED)
    assert (tried["status"], tried["attempt_count"]) == ("open", 1)
    assert world.sandbox.act("pay_invoice", invoice=invoice.id)["status"] == "paid"
    with pytest.raises(ValueError, match="is paid"):
        world.sandbox.act("pay_invoice", invoice=invoice.id)
