"""Balance transactions of everything that moves money, payouts, and lists narrowed by time."""

import pytest
import stripe
from test_payment_intents import pay


def test_every_movement_of_money_is_a_transaction_with_its_category(sandbox, client):
    refunded, disputed = pay(client), pay(client)
    refund = client.v1.refunds.create({"payment_intent": refunded.id})
    sandbox.finish_refund(refund.id, "failed")
    sandbox.decide_dispute(sandbox.dispute(disputed.id)["id"], "won")
    found = client.v1.balance_transactions.list().auto_paging_iter()
    rows = [(one.type, one.reporting_category, one.amount, one.fee, one.net) for one in found]
    assert rows[::-1] == [
        ("charge", "charge", 999, 59, 940),
        ("charge", "charge", 999, 59, 940),
        ("refund", "refund", -999, 0, -999),
        ("refund_failure", "refund_failure", 999, 0, 999),
        ("adjustment", "dispute", -999, 1500, -2499),
        ("adjustment", "dispute_reversal", 999, -1500, 2499),
    ]
    assert client.v1.balance.retrieve().pending[0].amount == sum(row[-1] for row in rows)


def test_transactions_are_narrowed_by_type_currency_and_source(sandbox, client):
    dollars, euros = pay(client), pay(client, currency="eur")
    refund = client.v1.refunds.create({"payment_intent": euros.id, "amount": 100})
    of = client.v1.balance_transactions.list
    assert [one.amount for one in of({"type": "refund"}).data] == [-100]
    assert [one.source for one in of({"currency": "USD"}).data] == [dollars.latest_charge]
    assert [one.type for one in of({"source": refund.id}).data] == ["refund"]
    assert of({"type": "refund", "currency": "usd"}).data == []


def test_a_payout_names_the_transactions_it_is_made_of(sandbox, client):
    first = pay(client)
    client.v1.refunds.create({"payment_intent": first.id, "amount": 200})
    with pytest.raises(ValueError, match="nothing available"):
        sandbox.act("pay_out")
    sandbox.advance(3 * 86_400)
    pay(client)
    payout = sandbox.act("pay_out")
    assert payout["amount"] == 740
    listed = client.v1.balance_transactions.list({"payout": payout["id"]}).data
    assert [one.type for one in listed] == ["payout", "refund", "charge"]
    assert sum(one.net for one in listed) == 0
    assert client.v1.payouts.retrieve(payout["id"]).status == "paid"
    assert [one.id for one in client.v1.payouts.list({"status": "paid"}).data] == [payout["id"]]
    assert client.v1.balance.retrieve().available[0].amount == 0
    assert client.v1.balance.retrieve().pending[0].amount == 940
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.balance_transactions.list({"payout": "po_nobody"})
    assert missing.value.code == "resource_missing"


def test_charges_are_narrowed_to_a_transfer_group(client):
    grouped = pay(client, transfer_group="order-7")
    pay(client)
    found = client.v1.charges.list({"transfer_group": "order-7"}).data
    assert [one.payment_intent for one in found] == [grouped.id]


@pytest.mark.parametrize(
    "kind",
    ["charges", "refunds", "disputes", "balance_transactions", "events", "payment_intents"],
)
def test_lists_are_narrowed_by_time_and_paged_by_cursors(sandbox, client, kind):
    service = getattr(client.v1, kind)
    for _ in range(3):
        intent = pay(client)
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
        sandbox.dispute(intent.id, 100)
        sandbox.advance(100)
    everything = list(service.list({"limit": 2}).auto_paging_iter())
    times = [one.created for one in everything]
    assert times == sorted(times, reverse=True)
    middle = times[len(times) // 2]
    for bounds in ({"gte": middle}, {"gt": middle}, {"lt": middle}, {"lte": middle},
                   {"gte": middle, "lt": middle + 1}):
        asked = {"limit": 1, "created": bounds}
        found = [one.id for one in service.list(asked).auto_paging_iter()]
        tests = {
            "gte": lambda t, b: t >= b, "gt": lambda t, b: t > b,
            "lt": lambda t, b: t < b, "lte": lambda t, b: t <= b,
        }
        wanted = [
            one.id for one in everything
            if all(tests[name](one.created, bound) for name, bound in bounds.items())
        ]
        assert found == wanted
    backwards = service.list({"ending_before": everything[-1].id, "limit": 2}).data
    assert [one.id for one in backwards] == [one.id for one in everything[-3:-1]]
