"""The record: exact amounts, documented names, a round trip without loss."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.tracker import TRANSITIONS, PaymentRecord, get_payment_tracker
from paydesk.tracker.models import COLUMNS

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DOCUMENTED = {
    "id",
    "user_id",
    "amount_cents",
    "amount_usd",
    "credits_to_add",
    "status",
    "provider",
    "provider_session_id",
    "provider_payment_id",
    "package_id",
    "package_name",
    "credits_added",
    "credits_added_at",
    "credit_transaction_id",
    "created_at",
    "updated_at",
    "completed_at",
    "expires_at",
    "error_message",
    "error_code",
    "metadata",
}

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)
instants = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
amounts = st.integers(min_value=1, max_value=2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
records = st.builds(
    PaymentRecord,
    id=st.uuids().map(str),
    user_id=texts,
    amount_cents=amounts,
    currency=st.sampled_from(["usd", "eur", "htg", "jpy"]),
    credits_to_add=st.integers(0, 2**63 - 1),
    state=st.sampled_from(sorted(TRANSITIONS)),
    provider=texts,
    session_id=st.none() | texts,
    credits_added=st.booleans(),
    credit_transaction_id=st.none() | st.uuids().map(str),
    created_at=instants,
    expires_at=st.none() | instants,
    error_message=st.none() | texts,
    metadata=st.dictionaries(texts, json_values, max_size=3),
    version=st.integers(0, 2**31 - 1),
    captured_cents=amounts,
)


def record(**changes):
    values = {"id": str(uuid4()), "user_id": "user_123", "amount_cents": 999, "provider": "stripe"}
    return PaymentRecord(**{**values, **changes})


@given(records)
def test_a_record_survives_its_dictionary_and_json(payment):
    assert PaymentRecord.from_dict(payment.to_dict()) == payment
    assert PaymentRecord.from_dict(json.loads(json.dumps(payment.to_dict()))) == payment


# S2.18
def test_the_dictionary_has_the_documented_columns_and_json_values():
    row = record(session_id="cs_1").to_row()
    assert set(row) >= DOCUMENTED
    assert set(row) == set(COLUMNS)
    assert (row["status"], row["state"], row["amount_usd"]) == ("pending", "pending", "9.99")
    assert record(session_id="cs_1").to_dict()["session_id"] == "cs_1"


def test_a_row_of_an_older_application_is_understood():
    row = {
        "_id": 7,
        "id": str(uuid4()),
        "user_id": "user_123",
        "amount_cents": 999,
        "amount_usd": 9.99,
        "credits_to_add": 150,
        "status": "cancelled",
        "provider": "stripe",
        "provider_session_id": "cs_1",
        "credits_added": None,
        "created_at": "2026-03-01T12:00:00",
        "metadata": '{"order": "1042"}',
        "version": None,
    }
    old = PaymentRecord.from_dict(row)
    assert (old.state, old.status, old.version) == ("canceled", "cancelled", 0)
    assert (old.created_at, old.metadata, old.session_id) == (NOW, {"order": "1042"}, "cs_1")
    assert old.amount_usd == Decimal("9.99")


def test_a_status_changed_by_somebody_else_holds_over_the_stored_state():
    row = record(state="requires_action").to_dict()
    assert PaymentRecord.from_dict(row).state == "requires_action"
    assert PaymentRecord.from_dict({**row, "status": "completed"}).state == "succeeded"


# I11 C3
@pytest.mark.parametrize("amount", [9.99, 10.0, "10", True, None, Decimal("10")])
def test_an_amount_that_is_no_whole_number_is_a_type_error(amount):
    with pytest.raises(TypeError):
        record(amount_cents=amount)
    with pytest.raises(TypeError):
        get_payment_tracker("memory").create_pending_payment("user_123", amount, 150, "stripe")


@pytest.mark.parametrize("amount", [0, -1, 2**63, 10**30])
def test_an_amount_out_of_bounds_is_a_value_error(amount):
    with pytest.raises(ValueError):
        record(amount_cents=amount)


# C24
@given(amounts)
def test_dollars_are_exact(cents):
    assert record(amount_cents=cents).amount_usd * 100 == cents


def test_dollars_of_another_currency_are_those_given():
    assert record(currency="EUR", amount_usd="10.87").amount_usd == Decimal("10.87")
    assert record(currency="EUR").amount_usd is None
    assert record(currency="EUR").currency == "eur"
    with pytest.raises(TypeError):
        record(currency="EUR", amount_usd=10.87)


@pytest.mark.parametrize(
    "bad",
    [
        {"user_id": "a\x00b"},
        {"user_id": ""},
        {"session_id": "\ud800"},
        {"metadata": {"k": "a\x00b"}},
        {"metadata": {"k": "\udfff"}},
        {"metadata": {"k": float("nan")}},
        {"metadata": {"k": {1, 2}}},
        {"id": "not-a-uuid"},
        {"currency": "dollars"},
        {"state": "completed"},
        {"created_at": datetime(2026, 3, 1)},  # noqa: DTZ001
        {"colour": "red"},
    ],
)
def test_what_no_store_could_keep_is_refused(bad):
    with pytest.raises((ValueError, TypeError)):
        record(**bad)


def test_a_record_is_immutable_and_its_repr_is_one_line():
    payment = record()
    with pytest.raises(ValueError):
        payment.state = "succeeded"
    assert "\n" not in repr(payment) and "status='pending'" in repr(payment)
