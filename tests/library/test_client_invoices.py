"""The library's front for invoices and credit notes, in both of its forms."""

from __future__ import annotations

import asyncio

import pytest

from paydesk import EUR, USD, errors
from paydesk.client_async import AsyncPaydesk


def test_an_invoice_is_written_listed_given_back_and_printed(pay, sim):
    one = pay.invoices.create("maya", [("Onboarding", USD("50.00"), 2), ("Goodwill", USD("-10"))],
                              percent_off=10, key="a")  # fmt: skip
    assert (one.subtotal, one.discount, one.total) == (USD("90.00"), USD("10.00"), USD("80.00"))
    assert [i.kind for i in one.items] == ["one_off", "adjustment", "discount"]
    assert pay.invoices.create("maya", [("Onboarding", USD("50.00"), 2)], key="a").id == one.id
    session = pay.invoices.checkout(one)
    sim.pay(session.payment.provider_session)
    pay.verify(session.id)
    assert pay.invoices.get(one).status == "paid"
    assert [i.id for i in pay.invoices.list(customer="maya", status="paid")] == [one.id]
    note = pay.credit_notes.create(one, USD("20.00"), balance=USD("20.00"), key="n")
    assert (note.balance, note.refunded) == (USD("20.00"), USD("0"))
    assert pay.credit_notes.create(one, USD("20.00"), key="n").id == note.id
    assert [n.id for n in pay.credit_notes.list(invoice=one)] == [note.id]
    line = one.items[0]
    about = pay.credit_notes.create(one, items=[(line, USD("3.00")), (line.id, USD("2.00"))])
    assert about.amount == about.refunded == USD("5.00")
    for wrong in ([(line, EUR("5.00"))], [(line, USD("5.00")), (line, EUR("5.00"))]):
        with pytest.raises(errors.InvalidRequest):
            pay.credit_notes.create(one, items=wrong)
    assert pay.credit_notes.get(note.id).number == "CN-000001"
    assert pay.credit_notes.pdf(note).startswith(b"%PDF")
    assert pay.invoices.pdf(one.id, locale="ht").startswith(b"%PDF")
    with pytest.raises(errors.Conflict):
        pay.credit_notes.void(note)


def test_a_draft_is_finalized_given_up_and_voided(pay):
    one = pay.invoices.create("omar", [("Support", USD("5"))], finalize=False)
    assert one.status == "draft" and one.url is None
    with pytest.raises(errors.NotFound):
        pay.invoices.pdf(one)
    assert pay.invoices.finalize(one).status == "open"
    assert pay.invoices.mark_uncollectible(one).status == "uncollectible"
    assert pay.invoices.void(one).status == "void"
    with pytest.raises(errors.Conflict):
        pay.invoices.pay(one)
    with pytest.raises(ValueError, match="one currency"):
        pay.invoices.create("omar", [("A", USD("5")), ("B", EUR("5"))])


def test_the_asynchronous_front_does_the_same(pay):
    async def story():
        desk = AsyncPaydesk(paydesk=pay)
        one = await desk.invoices.create("rosa", [("Support", USD("5"))])
        return one, [i.id async for i in desk.invoices.list(customer="rosa")]

    one, listed = asyncio.run(story())
    assert listed == [one.id]
