"""Credit notes: given to the payer, to the balance or by asking for less, never too much."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from test_invoices import VAT, account, bill, books, charge, line, payer, sdk  # noqa: F401

from paydesk.errors import (
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotRefundable,
    PaydeskError,
)
from paydesk.flows import credit_notes, invoice_numbers, invoices, payments, refunds
from paydesk.flows.credit_notes import NewNote
from paydesk.flows.refunds import WantRefund
from paydesk.rules.money import USD, Money


def give(desk, view, **more):
    return credit_notes.create(desk.env, NewNote(
        customer_id=view.customer_id, invoice_id=view.id, by="staff:ada",
        **{"request_key": uuid4(), **more}))  # fmt: skip


@pytest.fixture
def paid(desk, payer):  # noqa: F811
    """A paid invoice of 100.00 and 20 % tax."""
    return charge(desk, bill(desk, payer(), line(10_000), taxes=[VAT]))


def test_a_refund_of_a_paid_invoice_takes_its_tax_along(desk, paid):  # S1.51 I7
    note = give(desk, paid, amount=USD("60.00"), reason="requested_by_customer")
    assert (note.refunded.minor, note.tax.minor, note.refund_status) == (6000, 1000, "succeeded")
    assert note.number == "CN-000001"
    user = desk.env and paid
    assert _account(desk, user, "revenue") == 5000 and _account(desk, user, "tax") == 1000
    rest = give(desk, paid)
    assert (rest.amount.minor, rest.tax.minor) == (6000, 1000)
    assert _account(desk, user, "revenue") == 0 and _account(desk, user, "tax") == 0
    one = payments.get(desk.env, paid.customer_id, paid.payment_id)
    assert one.state == "refunded"
    assert invoices.get(desk.env, None, paid.id).credited.minor == 12_000
    with pytest.raises(InvalidRequest):
        give(desk, paid, amount=USD("0.01"))


def _account(desk, view, name):
    class Who:
        uuid = view.customer_id

    return account(desk, Who, name)


def test_a_part_goes_to_the_balance_and_pays_the_next_invoice(desk, paid):
    note = give(desk, paid, amount=USD("36.00"), balance=USD("12.00"))
    assert (note.refunded.minor, note.balance.minor, note.tax.minor) == (2400, 1200, 600)
    assert _account(desk, paid, "balance") == 1200

    class Who:
        uuid = paid.customer_id

    later = bill(desk, Who, line(2000))
    assert (later.balance.minor, later.due.minor) == (1200, 800)
    assert charge(desk, later).status == "paid"


def test_an_open_invoice_asks_for_less_and_is_paid_when_nothing_is_left(desk, payer):  # noqa: F811
    user = payer()
    view = bill(desk, user, line(10_000), taxes=[VAT])
    note = give(desk, view, amount=USD("24.00"))
    assert (note.written_off.minor, note.tax.minor, note.refund_id) == (2400, 400, None)
    later = charge(desk, view)
    assert (later.paid.minor, later.status) == (9600, "paid")
    assert account(desk, user, "revenue") == 8000 and account(desk, user, "tax") == 1600
    other = bill(desk, user, line(500))
    give(desk, other)
    assert invoices.get(desk.env, user.uuid, other.id).status == "paid"
    assert account(desk, user, "deposits") == 0


def test_what_the_balance_paid_of_an_open_invoice_comes_back_to_it(desk, payer):  # noqa: F811
    user = payer()
    bill(desk, user, line(-700, kind="adjustment"))
    view = bill(desk, user, line(1000))
    note = give(desk, view, amount=USD("5.00"))
    assert (note.written_off.minor, note.balance.minor) == (300, 200)
    assert account(desk, user, "balance") == 200
    assert invoices.get(desk.env, user.uuid, view.id).status == "paid"
    assert account(desk, user, "revenue") == -700 + 500


def test_a_void_after_a_note_gives_back_only_the_rest(desk, payer):  # noqa: F811
    user = payer()
    bill(desk, user, line(-700, kind="adjustment"))
    view = bill(desk, user, line(1000))
    give(desk, view, amount=USD("1.00"))
    invoices.void(desk.env, user.uuid, view.id)
    assert account(desk, user, "balance") == 700
    with pytest.raises(Conflict):
        give(desk, view)


def test_a_refund_without_a_note_leaves_less_to_note(desk, paid):  # I7
    refunds.request(desk.env, WantRefund(
        customer_id=paid.customer_id, payment_id=paid.payment_id, amount=USD("100.00"),
        by="staff:ada", request_key=uuid4(), request_hash=b"x"))  # fmt: skip
    with pytest.raises(InvalidRequest):
        give(desk, paid, amount=USD("20.01"))
    assert give(desk, paid).amount.minor == 2000


def test_lines_of_a_note_are_the_invoices_and_make_up_its_amount(desk, paid):
    item = paid.items[0].id
    for bad in ([(uuid4(), 500)], [(item, 0)]):
        with pytest.raises(InvalidRequest):
            give(desk, paid, items=bad)
    note = give(desk, paid, items=[(item, 500)])
    assert note.amount.minor == 500 and note.items[0]["description"] == "Consulting"


def test_the_same_request_is_the_same_note(desk, paid):
    key = uuid4()
    first = give(desk, paid, amount=USD("1.00"), request_key=key)
    assert give(desk, paid, amount=USD("1.00"), request_key=key).id == first.id
    assert len(credit_notes.list_(desk.env, paid.customer_id, invoice_id=paid.id)) == 1
    other = bill(desk, type("Who", (), {"uuid": paid.customer_id}), line(100))
    with pytest.raises(IdempotencyKeyReused):
        give(desk, other, request_key=key)
    with pytest.raises(InvalidRequest):
        give(desk, paid, amount=Money(1, "eur", minor=True))


def test_a_refund_that_the_provider_refuses_voids_its_note(desk, paid):
    one = payments.get(desk.env, paid.customer_id, paid.payment_id)
    import stripe

    client = stripe.StripeClient(desk.sim.secret_key, base_addresses={"api": desk.sim.url})
    # Taken back at the provider, and nobody has told us.
    client.v1.refunds.create({"payment_intent": one.payment_ref})
    with pytest.raises((PaydeskError, NotRefundable)):
        give(desk, paid, amount=USD("10.00"), balance=USD("2.00"))
    [note] = credit_notes.list_(desk.env, paid.customer_id)
    assert (note.status, note.refund_status) == ("void", "failed")
    assert _account(desk, paid, "balance") == 0
    assert invoices.get(desk.env, None, paid.id).credited.minor == 0
    assert invoice_numbers.number_due(desk.env) >= 0


def test_a_note_whose_refund_lives_is_not_taken_back(desk, paid):
    note = give(desk, paid, amount=USD("10.00"))
    with pytest.raises(Conflict):
        credit_notes.void(desk.env, paid.customer_id, note.id, by="staff:ada")
    assert [r for r in books(desk, type("Who", (), {"uuid": paid.customer_id}))
            if r[0] == "REFUND"] == [
        ("REFUND", "revenue", "refunds", 833), ("REFUND", "tax", "refunds", 167)]  # fmt: skip


def direct(desk, view, amount=None):
    key = uuid4()
    return refunds.request(desk.env, WantRefund(
        customer_id=view.customer_id, payment_id=view.payment_id, by="staff:ada", request_key=key,
        request_hash=key.bytes, amount=amount,
    ))  # fmt: skip


def test_a_direct_refund_and_credit_notes_never_give_back_more_than_was_paid(desk, paid):
    """S1.51 I7: what went to the balance does not go back to the payer too."""
    give(desk, paid, amount=USD("36.00"), balance=USD("36.00"))
    told = refunds.preview(desk.env, paid.customer_id, paid.payment_id)
    assert (told.amount, told.refundable) == (USD("84.00"), USD("84.00"))
    for ask in (direct, lambda *a: refunds.preview(desk.env, paid.customer_id, paid.payment_id,
                                                   a[-1])):  # fmt: skip
        with pytest.raises(NotRefundable) as told_no:
            ask(desk, paid, USD("84.01"))
        assert told_no.value.code == "already_credited"
        assert told_no.value.extra["refundable"] == 8400
    with pytest.raises(NotRefundable) as told_no:
        direct(desk, paid, USD("120.01"))
    assert told_no.value.code == "not_refundable"
    assert direct(desk, paid).amount == USD("84.00")
    with pytest.raises(NotRefundable) as told_no:
        direct(desk, paid, USD("0.01"))
    assert told_no.value.code == "already_credited"
    with pytest.raises(InvalidRequest):
        give(desk, paid, amount=USD("0.01"))


def test_what_the_balance_paid_may_go_back_there_and_the_payment_whole_to_the_payer(
    desk, payer  # noqa: F811
):
    user = payer()
    first = charge(desk, bill(desk, user, line(3000)))
    give(desk, first, amount=USD("30.00"), balance=USD("30.00"))
    view = charge(desk, bill(desk, user, line(10_000)))
    assert (view.balance.minor, view.paid.minor) == (3000, 7000)
    give(desk, view, amount=USD("30.00"), balance=USD("30.00"))
    assert direct(desk, view).amount == USD("70.00")


def test_a_voided_note_no_longer_holds_back_a_refund(desk, paid):
    note = give(desk, paid, amount=USD("48.00"), balance=USD("12.00"))
    [refund] = refunds.list_(desk.env, paid.customer_id, payment_id=paid.payment_id)
    desk.sim.finish_refund(refund.provider_ref, "failed")
    refunds.refresh(desk.env, paid.customer_id, refund.id, "poll")
    assert refunds.preview(desk.env, paid.customer_id, paid.payment_id).amount == USD("108.00")
    credit_notes.void(desk.env, paid.customer_id, note.id, by="staff:ada")
    assert direct(desk, paid).amount == USD("120.00")


def _rest(desk, paid):
    """(what of the invoice is credited, its notes' states, the balance)."""
    notes = credit_notes.list_(desk.env, paid.customer_id)
    return (invoices.get(desk.env, None, paid.id).credited.minor, [one.status for one in notes],
            _account(desk, paid, "balance"))  # fmt: skip


def test_a_refund_that_is_refused_when_nobody_waits_any_more_voids_its_note(desk, paid):  # I7
    import stripe

    desk.sim.fault("drop_before", "/v1/refunds")
    note = give(desk, paid, amount=USD("10.00"), balance=USD("2.00"))
    assert (note.status, note.refund_status) == ("issued", "pending")
    client = stripe.StripeClient(desk.sim.secret_key, base_addresses={"api": desk.sim.url})
    one = payments.get(desk.env, paid.customer_id, paid.payment_id)
    # Taken back at the provider, and nobody has told us.
    client.v1.refunds.create({"payment_intent": one.payment_ref})
    desk.clock.advance(hours=1)
    desk.sweep("provider_calls")
    assert credit_notes.get(desk.env, None, note.id).refund_status == "failed"
    assert _rest(desk, paid) == (0, ["void"], 0)


@pytest.mark.parametrize("way", ["reject", "cancel"])
def test_a_refund_that_nobody_allows_voids_its_note(desk, paid, way):  # I7
    note = give(desk, paid, amount=USD("10.00"), balance=USD("2.00"), actor_role="support")
    assert note.refund_status == "requested"
    if way == "reject":
        refunds.decide(desk.env, paid.customer_id, note.refund_id, "reject", by="staff:grace")
    else:
        refunds.cancel(desk.env, paid.customer_id, note.refund_id, by="staff:ada")
    assert _rest(desk, paid) == (0, ["void"], 0)


def test_a_note_whose_balance_is_used_stays_when_its_refund_comes_to_nothing(desk, paid):
    note = give(desk, paid, amount=USD("10.00"), balance=USD("2.00"), actor_role="support")
    bill(desk, type("Who", (), {"uuid": paid.customer_id}), line(200))
    refunds.decide(desk.env, paid.customer_id, note.refund_id, "reject", by="staff:grace")
    assert _rest(desk, paid) == (1000, ["issued"], 0)
    with pytest.raises(Conflict):
        credit_notes.void(desk.env, paid.customer_id, note.id, by="staff:ada")


def test_an_invoice_that_the_provider_collects_is_only_refunded_here(desk, payer):  # noqa: F811
    view = charge(desk, bill(desk, payer(), line(1000)))

    def run_by(runner):
        with desk.env.db.transaction() as tx:
            tx.run("update invoices set runner = %(runner)s", {"runner": runner})

    run_by("provider")
    with pytest.raises(Conflict):
        give(desk, view, amount=USD("3.00"), balance=USD("3.00"))
    assert give(desk, view, amount=USD("3.00")).refunded == USD("3.00")
    run_by("paydesk")


# S1.50
def test_invoices_and_notes_at_once_have_a_series_each_without_a_gap(desk, make):
    users = [make.user() for _ in range(8)]
    opened = [bill(desk, user, line(10_000)) for user in users]

    def write(user):
        return bill(desk, user, line(500))

    def note(view):
        return give(desk, view, amount=USD("30.00"))

    with ThreadPoolExecutor(16) as pool:
        written = [pool.submit(write, user) for user in users]
        given = [pool.submit(note, view) for view in opened]
        views = opened + [one.result() for one in written]
        notes = [one.result() for one in given]
    desk.sweep("invoice_numbers")
    numbers = [invoices.get(desk.env, one.customer_id, one.id).number for one in views]
    assert sorted(numbers) == [f"INV-{n:06d}" for n in range(1, 17)]
    numbers = [credit_notes.get(desk.env, one.customer_id, one.id).number for one in notes]
    assert sorted(numbers) == [f"CN-{n:06d}" for n in range(1, 9)]


# What settled an invoice ----------------------------------------------------------------------


def test_an_invoice_names_the_payment_that_brought_its_money(desk, payer):  # noqa: F811
    user = payer("tok_chargeCustomerFail")
    view = bill(desk, user, line(3000))
    with contextlib.suppress(PaydeskError):
        charge(desk, view)
    tried = invoices.get(desk.env, None, view.id)
    assert tried.payment_id is not None and tried.payments == (), "tried last, and brought nothing"
    give(desk, tried)
    settled = invoices.get(desk.env, None, view.id)
    assert (settled.status, settled.payment_id, settled.payments) == ("paid", None, ())
    assert [one.payments for one in invoices.list_(desk.env, user.uuid)] == [()]
    by_card = charge(desk, bill(desk, payer(), line(3000)))
    assert by_card.payments == (by_card.payment_id,)
    assert [one.payments for one in invoices.list_(desk.env, by_card.customer_id)] == [
        (by_card.payment_id,)]  # fmt: skip


def test_what_the_balance_paid_names_no_payment(desk, payer):  # noqa: F811
    user = payer()
    first = charge(desk, bill(desk, user, line(3000)))
    give(desk, first, amount=USD("30.00"), balance=USD("30.00"))
    view = bill(desk, user, line(3000))
    found = invoices.get(desk.env, None, view.id)
    assert (found.status, found.payment_id, found.payments) == ("paid", None, ())
