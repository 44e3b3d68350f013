"""Invoices: lines that add up, paid once whatever happens, numbered without gaps, given back."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import stripe

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.errors import (
    InvalidRequest,
    NotFound,
    PaydeskError,
    PaymentInFlight,
)
from paydesk.flows import (
    doctor,
    heads,
    invoice_numbers,
    invoices,
    ledger,
    methods,
    payments,
    provider_calls,
)
from paydesk.flows.invoices import Discount, NewInvoice, NewItem
from paydesk.flows.methods import AddMethod
from paydesk.rules.invoices import InvoiceStateConflict, TaxRate

VAT = TaxRate(id=uuid4(), name="VAT 20%", micros=200_000)


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


@pytest.fixture
def payer(desk, sdk):
    """Makes a customer with a saved card."""

    def make(card="tok_visa", **more):
        user = desk.make.user(**more)
        made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": card}})
        methods.add(desk.env, AddMethod(customer_id=user.uuid, token=made.id))
        return user

    return make


def line(amount=1999, **more):
    told = {"kind": "one_off", "description": "Consulting", "amount_minor": amount}
    return NewItem(**{**told, **more})


def bill(desk, user, *items, taxes=None, discount=None, currency="usd", **more):
    """A finalized invoice by hand, with these taxes."""
    with desk.env.db.transaction(user.uuid) as tx:
        now = heads.decide(tx, desk.env.now(), user.uuid)
        row = invoices.write(
            tx, now, settings=desk.env.settings, customer_id=user.uuid, subscription_id=None,
            reason="manual", currency=currency, items=items or [line()], discount=discount,
            request_key=uuid4(), **more,
        )
        invoices.finalize(
            tx, now, user.uuid, row.id, settings=desk.env.settings,
            taxes=(lambda tx, country, product, at: taxes) if taxes else None,
        )
    return invoices.get(desk.env, user.uuid, row.id)


def charge(desk, view, **more):
    """What the engine does: intend in one transaction, send after it; answers the invoice."""
    with desk.env.db.transaction(view.customer_id) as tx:
        now = heads.decide(tx, desk.env.now(), view.customer_id)
        row = invoices.invoice_books.get(tx, view.customer_id, view.id)
        told = {"method_id": None, **more}
        call = invoices.intend_payment(desk.env, tx, now, row, **told)
    if call is not None:
        with contextlib.suppress(PaydeskError):
            provider_calls.run(desk.env, call)
    return invoices.get(desk.env, view.customer_id, view.id)


def account(desk, user, name, currency="usd"):
    with desk.env.db.read() as tx:
        return ledger.balances(tx, [user.uuid], name, currency)[user.uuid]


def books(desk, user):
    """Every transfer: (reason, debit, credit, amount)."""
    rows = desk.all(
        "select reason, debit, credit, amount from transfers where customer_id = %(c)s"
        " order by seq", c=user.uuid,
    )  # fmt: skip
    return [
        (r["reason"], ledger.NAMES[r["debit"]], ledger.NAMES[r["credit"]], r["amount"])
        for r in rows
    ]


def test_an_invoice_by_hand_is_written_taxed_charged_and_paid(desk, payer):  # I13
    user = payer()
    view = bill(desk, user, line(10_000), taxes=[VAT])
    assert (view.status, view.subtotal.minor, view.tax.minor, view.total.minor) == (
        "open", 10_000, 2_000, 12_000)  # fmt: skip
    assert view.seller["name"] and view.buyer["external_id"] == user.external_id
    paid = charge(desk, view)
    assert (paid.status, paid.paid.minor, paid.remaining.minor) == ("paid", 12_000, 0)
    assert books(desk, user)[-2:] == [
        ("SALE", "deposits", "revenue", 10_000), ("TAX", "deposits", "tax", 2_000)]
    assert account(desk, user, "deposits") == 0
    one = payments.get(desk.env, user.uuid, paid.payment_id)
    assert one.purpose == "invoice" and one.state == "succeeded"


def test_lines_of_prices_and_a_discount_add_up_in_every_scale(desk, make):  # I13
    for currency in ("usd", "jpy", "kwd"):
        user = make.user()
        view = bill(
            desk, user, line(999), line(1), line(333, description="Support"),
            taxes=[VAT, TaxRate(id=uuid4(), name="City", micros=88_750)], currency=currency,
            discount=Discount(description="WELCOME", percent_micros=333_333),
        )
        assert sum(one.amount.minor for one in view.items) == view.total.minor
        assert view.subtotal.minor - view.discount.minor + view.tax.minor == view.total.minor
        assert (view.subtotal.minor, view.discount.minor) == (1333, 444)


def test_a_price_that_includes_its_tax_costs_no_more_with_it(desk, payer):  # I13
    user = payer()
    rate = TaxRate(id=uuid4(), name="VAT 20%", micros=200_000, inclusive=True)
    view = charge(desk, bill(desk, user, line(1999), taxes=[rate]))
    assert (view.total.minor, view.tax.minor, view.status) == (1999, 333, "paid")
    assert [one.amount.minor for one in view.items] == [1999, 0]
    assert view.items[1].tax is not None and view.items[1].tax.minor == 333
    assert account(desk, user, "tax") == 333 and account(desk, user, "revenue") == 1666


def test_the_balance_pays_first_and_is_given_back_by_a_void(desk, payer):
    user = payer()
    credit = bill(desk, user, line(-700, kind="adjustment", description="Goodwill"))
    assert (credit.status, credit.balance.minor, credit.due.minor) == ("paid", -700, 0)
    assert account(desk, user, "balance") == 700
    first = bill(desk, user, line(500), taxes=[VAT])
    assert (first.status, first.balance.minor, first.due.minor) == ("paid", 600, 0)
    second = bill(desk, user, line(1000))
    assert (second.status, second.balance.minor, second.due.minor) == ("open", 100, 900)
    assert account(desk, user, "balance") == 0
    gone = invoices.void(desk.env, user.uuid, second.id)
    assert gone.status == "void" and account(desk, user, "balance") == 100
    assert invoices.void(desk.env, user.uuid, second.id).status == "void"
    assert account(desk, user, "balance") == 100
    with pytest.raises(InvoiceStateConflict):
        invoices.pay(desk.env, user.uuid, second.id)
    third = charge(desk, bill(desk, user, line(1000)))
    assert (third.paid.minor, third.balance.minor) == (900, 100)
    assert account(desk, user, "deposits") == 0


def test_a_credit_with_tax_puts_both_on_the_balance(desk, make):
    user = make.user()
    view = bill(desk, user, line(-1000, kind="proration_credit"), taxes=[VAT])
    assert (view.total.minor, view.tax.minor, view.balance.minor) == (-1200, -200, -1200)
    assert books(desk, user) == [
        ("INVOICE_CREDIT", "revenue", "balance", 1000),
        ("INVOICE_CREDIT_TAX", "tax", "balance", 200),
    ]
    assert account(desk, user, "balance") == 1200


def test_lines_wait_for_the_subscriptions_next_invoice(desk, make):
    user, sub = make.user(), None
    sub = ids.new_owned(user.uuid)
    start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    with desk.env.db.transaction(user.uuid) as tx:
        now = heads.decide(tx, desk.env.now(), user.uuid)
        waiting = invoices.add(tx, now, user.uuid, sub, [line(-250, kind="proration_credit")],
                               currency="usd")  # fmt: skip
        again = invoices.add(tx, now, user.uuid, sub, [line(400, kind="proration_charge")],
                             currency="usd")  # fmt: skip
        assert again.id == waiting.id and again.total_minor == 150
        told = {
            "settings": desk.env.settings, "customer_id": user.uuid, "subscription_id": sub,
            "reason": "subscription_cycle", "currency": "usd", "cycle": 3, "period": (start, end),
            "items": [line(1999, kind="recurring")],
            "discount": Discount(description="HALF", percent_micros=500_000),
        }  # fmt: skip
        row = invoices.write(tx, now, request_key=uuid4(), **told)
        assert row.id == waiting.id
        assert invoices.write(tx, now, request_key=uuid4(), **told).id == row.id  # one a period
        invoices.finalize(tx, now, user.uuid, row.id, settings=desk.env.settings)
        assert invoices.write(tx, now, request_key=uuid4(), **told).state == "open"
    view = invoices.get(desk.env, user.uuid, row.id)
    assert [one.amount.minor for one in view.items] == [-250, 400, 1999, -1000]
    assert view.items[3].of_item == view.items[2].id
    assert (view.total.minor, view.reason, view.period_end) == (1149, "subscription_cycle", end)


def test_a_declined_try_is_one_and_the_next_is_another_payment(desk, payer):  # S1.18
    user = payer("tok_chargeCustomerFail")
    heard = []
    hook = lambda tx, now, row, payment: heard.append((row.error_code, payment.state))  # noqa: E731
    invoices.ON_FAILED.append(hook)
    try:
        view = charge(desk, bill(desk, user))
    finally:
        invoices.ON_FAILED.remove(hook)
    assert (view.status, view.error_code, view.attempts) == ("open", "generic_decline", 1)
    assert heard == [("generic_decline", "failed")]
    first = view.payment_id
    again = charge(desk, view)
    assert again.attempts == 2 and again.payment_id != first and again.status == "open"
    types = [r["type"] for r in desk.all(
        "select type from events where customer_id = %(c)s and subject_id = %(i)s order by seq",
        c=user.uuid, i=view.id)]  # fmt: skip
    assert types == ["invoice.created", "invoice.finalized", "invoice.payment_failed",
                     "invoice.payment_failed"]  # fmt: skip


def test_nobody_pays_an_invoice_twice_however_many_try(desk, payer):  # I13 I23
    user = payer()
    view = bill(desk, user)

    def one(how):
        with contextlib.suppress(PaydeskError):
            if how % 2:
                charge(desk, view)
            else:
                invoices.pay(desk.env, user.uuid, view.id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(16)))
    desk.recover(rounds=3)
    assert invoices.get(desk.env, user.uuid, view.id).status == "paid"
    taken = desk.all(
        "select captured_minor from payments where customer_id = %(c)s and captured_minor > 0",
        c=user.uuid,
    )  # fmt: skip
    assert [r["captured_minor"] for r in taken] == [1999]


def test_without_a_method_nothing_is_intended(desk, make):
    user = make.user()
    view = bill(desk, user)
    assert charge(desk, view).attempts == 0
    assert desk.all("select id from payments where customer_id = %(c)s", c=user.uuid) == []


def test_a_page_pays_it_once_and_asking_again_is_the_same_page(desk, make):
    user = make.user()
    view = bill(desk, user)
    page = invoices.checkout_for(desk.env, user.uuid, view.id)
    assert invoices.checkout_for(desk.env, user.uuid, view.id).id == page.id
    with pytest.raises(PaymentInFlight):
        invoices.pay(desk.env, user.uuid, view.id, method="tok_visa")
    desk.pay(page)
    desk.deliver(page)
    assert invoices.get(desk.env, user.uuid, view.id).status == "paid"
    assert desk.payment(page).payment_type is None
    with pytest.raises(InvoiceStateConflict):
        invoices.checkout_for(desk.env, user.uuid, view.id)


def test_money_that_comes_for_a_void_invoice_waits_for_a_person(desk, make):
    user = make.user()
    view = bill(desk, user)
    page = invoices.checkout_for(desk.env, user.uuid, view.id)
    desk.pay(page)  # Paid at the provider, and nobody has told us.
    with desk.env.db.transaction(user.uuid) as tx:
        now = heads.decide(tx, desk.env.now(), user.uuid)
        row = invoices.invoice_books.get(tx, user.uuid, view.id)
        with pytest.raises(PaymentInFlight):
            invoices.close(tx, now, row)
        tx.run("update payments set state = 'expired' where customer_id = %(c)s",
               {"c": user.uuid})  # fmt: skip
        invoices.close(tx, now, row)
    desk.deliver(page)
    one = desk.payment(page)
    assert one.state == "succeeded" and one.review == "already_purchased"
    assert one.fulfillment is not None and one.fulfillment.state == "blocked"


def test_voiding_ends_the_open_page_first(desk, make):
    user = make.user()
    view = bill(desk, user)
    page = invoices.checkout_for(desk.env, user.uuid, view.id)
    assert invoices.void(desk.env, user.uuid, view.id).status == "void"
    assert desk.payment(page).state in ("expired", "canceled")


def test_what_was_given_up_can_still_be_paid(desk, payer):
    user = payer()
    view = bill(desk, user)
    given_up = invoices.mark_uncollectible(desk.env, user.uuid, view.id)
    assert given_up.status == "uncollectible" and given_up.remaining.minor == 1999
    assert invoices.pay(desk.env, user.uuid, view.id).status == "paid"


@pytest.mark.parametrize("point", ["number_before_commit", "number_after_draw"])
def test_a_number_whose_document_was_not_told_stays_its_own(desk, make, point):
    one, other = make.user(), make.user()
    view = bill(desk, one)
    crash.arm(point)
    with contextlib.suppress(CrashNow):
        invoice_numbers.number(desk.env, one.uuid, view.id)
    crash.disarm()
    later = bill(desk, other)
    assert invoice_numbers.number(desk.env, other.uuid, later.id)
    desk.sweep("invoice_numbers")
    numbers = sorted(invoices.get(desk.env, v.customer_id, v.id).number for v in (view, later))
    assert numbers == ["INV-000001", "INV-000002"]


def test_sixteen_at_once_are_numbered_without_a_gap(desk, make):
    users = [make.user() for _ in range(16)]

    def one(user):
        return invoices.create(desk.env, NewInvoice(
            customer_id=user.uuid, currency="usd", items=[line()], request_key=uuid4()))

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(one, users))
    desk.sweep("invoice_numbers")
    numbers = sorted(invoices.get(desk.env, v.customer_id, v.id).number for v in made)
    assert numbers == [f"INV-{n:06d}" for n in range(1, 17)]


def test_the_same_request_is_the_same_invoice(desk, make):
    user, key = make.user(), uuid4()
    what = NewInvoice(customer_id=user.uuid, currency="usd", items=[line()], request_key=key)
    assert invoices.create(desk.env, what).id == invoices.create(desk.env, what).id
    with pytest.raises(InvalidRequest):
        invoices.create(desk.env, NewInvoice(customer_id=user.uuid, currency="usd", items=[],
                                             request_key=uuid4()))  # fmt: skip
    with pytest.raises(NotFound):
        invoices.get(desk.env, make.user().uuid, invoices.list_(desk.env, user.uuid)[0].id)


def test_the_doctor_sees_an_invoice_that_does_not_add_up(desk, make, database):
    user = make.user()
    view = bill(desk, user)
    with desk.env.db.transaction(user.uuid) as tx:
        tx.run("update invoices set total_minor = total_minor + 1 where customer_id = %(c)s",
               {"c": user.uuid})  # fmt: skip
        bad = [one.check for one in doctor.check(tx) if not one.ok]
        tx.run("update invoices set total_minor = total_minor - 1 where customer_id = %(c)s",
               {"c": user.uuid})  # fmt: skip
    assert bad == ["invoice_lines_add_up"] and view.total.minor == 1999


# S1.50!
def test_the_learning_familys_table_tells_status_period_and_document(desk, payer):  # S1.8 S1.50
    user = payer()
    span = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    paid = charge(desk, bill(desk, user, line(1999), taxes=[VAT], period=span))
    given_up = bill(desk, user, line(100))
    invoices.mark_uncollectible(desk.env, user.uuid, given_up.id)
    gone = bill(desk, user, line(100))
    invoices.void(desk.env, user.uuid, gone.id)
    rows = desk.all(
        "select user_id, invoice_number, amount::text, amount_paid::text, currency, status,"
        " period_start, period_end, invoice_pdf_url from learning.invoices order by created_at, id"
    )
    assert [r["status"] for r in rows] == ["paid", "open", "void"]
    first = rows[0]
    assert (first["user_id"], first["currency"]) == (user.external_id, "USD")
    assert (float(first["amount"]), float(first["amount_paid"])) == (23.99, 23.99)
    assert (first["period_start"], first["period_end"]) == span
    assert first["invoice_pdf_url"] == paid.pdf_url


def test_a_crash_before_the_commit_leaves_nothing_and_the_key_begins_anew(desk, payer):
    user, key = payer(), uuid4()
    bill(desk, user, line(-300, kind="adjustment"))
    what = NewInvoice(customer_id=user.uuid, currency="usd", items=[line()], request_key=key)
    crash.arm("invoice_before_commit")
    with pytest.raises(CrashNow):
        invoices.create(desk.env, what)
    crash.disarm()
    assert account(desk, user, "balance") == 300 and len(invoices.list_(desk.env, user.uuid)) == 1
    one = invoices.create(desk.env, what)
    assert (one.balance.minor, one.due.minor) == (300, 1699)
    assert account(desk, user, "balance") == 0


@pytest.mark.parametrize("point", ["checkout_before_intend_commit", "before_provider_call",
                                   "after_provider_call", "fulfil_before_goods",
                                   "fulfil_after_goods"])  # fmt: skip
def test_wherever_a_charge_dies_the_invoice_is_paid_once(desk, payer, point):  # I1 I23
    user = payer()
    view = bill(desk, user)
    crash.arm(point)
    with contextlib.suppress(CrashNow):
        invoices.pay(desk.env, user.uuid, view.id, request_key=ids.request_key("test", point))
    crash.disarm()
    desk.recover(rounds=3)
    if point == "checkout_before_intend_commit":
        invoices.pay(desk.env, user.uuid, view.id, request_key=ids.request_key("test", point))
    one = invoices.get(desk.env, user.uuid, view.id)
    assert (one.status, one.paid.minor) == ("paid", 1999)
    assert account(desk, user, "revenue") == 1999 and account(desk, user, "clearing") == -1999 + (
        account(desk, user, "fees") * -1)  # fmt: skip


def test_the_receipt_of_an_invoice_names_its_number(desk, payer):
    from paydesk.flows import customers, mail_facts
    from paydesk.notify import receipts

    user = payer()
    view = charge(desk, bill(desk, user))
    desk.sweep("invoice_numbers")
    facts = mail_facts.payment(desk.env, customers.get(desk.env, user.uuid), view.payment_id)
    said = {locale: receipts.receipt(locale, facts).lines[0].description for locale in ("en", "fr")}
    assert said == {"en": "Invoice INV-000001", "fr": "Facture INV-000001"}
