"""Numbers of invoices that subscriptions write: on every paper, and at the end of an advance."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pypdfium2
import pytest
from starlette.testclient import TestClient

from paydesk import USD, crash
from paydesk.crash import CrashNow
from paydesk.errors import NotFound
from paydesk.flows import invoice_papers, invoices
from paydesk.http.app import create_app
from paydesk.testing.plugin import clock, pay, paydesk_simulator

__all__ = ["clock", "pay", "paydesk_simulator"]


@pytest.fixture
def paydesk_catalog() -> bool:
    """The desk is empty: each test says what is on sale."""
    return False


@pytest.fixture
def paid(pay):
    """An invoice that was paid this instant. No worker has run since."""
    pay.plans.upsert("studio", name="Studio", price=USD("20.00"))
    pay.subscribe("u1", plan="studio").complete(card="4242")
    (one,) = pay.invoices.list(customer="u1")
    assert (one.status, one.number) == ("paid", None)
    return one


def text_of(content: bytes) -> str:
    return "\n".join(p.get_textpage().get_text_range() for p in pypdfium2.PdfDocument(content))


def numbers(pay, who="u1"):
    return [one.number for one in reversed(list(pay.invoices.list(customer=who)))]


# S1.50
def test_a_paper_never_goes_without_its_number(pay, paid):
    assert "INV-000001" in text_of(pay.invoices.pdf(paid))
    assert "INV-000001" in text_of(pay.invoices.pdf(paid))
    assert numbers(pay) == ["INV-000001"], "it is drawn once"


# S1.50
def test_a_paper_has_its_number_while_its_customer_is_held_elsewhere(pay, paid):
    view = invoices.get(pay.env, None, paid.id)
    with pay.env.db.transaction(view.customer_id):
        assert "INV-000001" in text_of(pay.invoices.pdf(paid))
        assert numbers(pay) == [None]
    pay.invoices.pdf(paid)
    assert numbers(pay) == ["INV-000001"]


# S1.50
def test_the_hosted_page_and_a_notes_paper_have_numbers(pay, paid):
    env = replace(pay.env, settings=replace(pay.env.settings, public_url="http://testserver"))
    view = invoices.get(env, None, paid.id)
    with TestClient(create_app(env)) as client:
        page = client.get(view.page_url)
    assert page.status_code == 200 and "INV-000001" in page.text
    crash.arm("number_before_commit")
    with contextlib.suppress(CrashNow):
        pay.credit_notes.create(paid, USD("5.00"), balance=USD("5.00"))
    crash.disarm()
    (note,) = pay.credit_notes.list(invoice=paid)
    assert note.number is None
    shown = text_of(pay.credit_notes.pdf(note))
    assert "CN-000001" in shown and "INV-000001" in shown
    assert pay.credit_notes.get(note).number == "CN-000001"


# S1.50
def test_reading_draws_no_number_and_a_draft_has_none(pay, paid):
    draft = pay.invoices.create("u1", [("Consulting", USD("30.00"))], finalize=False)
    assert (pay.invoices.get(paid).number, pay.invoices.get(draft).number) == (None, None)
    with pytest.raises(NotFound):
        pay.invoices.pdf(draft)
    view = invoices.get(pay.env, None, draft.id)
    assert invoice_papers.numbered(pay.env, view) == view
    pay.invoices.pdf(paid)
    assert numbers(pay) == ["INV-000001", None]


# S1.50
def test_an_advance_ends_with_all_invoices_numbered_without_a_gap(pay, clock, paid):
    draft = pay.invoices.create("u1", [("Consulting", USD("30.00"))], finalize=False)
    pay.subscribe("u2", plan="studio").complete(card="4242")
    clock.advance(days=62)
    found = [one for who in ("u1", "u2") for one in pay.invoices.list(customer=who)
             if one.id != draft.id]  # fmt: skip
    told = sorted((one.finalized_at, str(one.number)) for one in found)
    assert sorted(number for _, number in told) == [f"INV-{n:06d}" for n in range(1, 7)]
    assert pay.invoices.get(draft).number is None


# S1.50
def test_an_advance_waits_for_no_customer_who_is_held_elsewhere(pay, clock, paid):
    before = pay.invoices.get(paid)
    with pay.env.db.transaction(invoices.get(pay.env, None, paid.id).customer_id):
        clock.advance(minutes=1)
    assert pay.invoices.get(paid).status == before.status
    clock.advance(minutes=1)
    assert numbers(pay) == ["INV-000001"]
