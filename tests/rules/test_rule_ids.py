"""Ids: sorted by time, naming their customer, shown with a prefix and read back."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk import ids
from paydesk.errors import NotFound

UUIDS = st.uuids()
TAGS = st.integers(0, 2**40 - 1)
KINDS = st.sampled_from(sorted(ids.PREFIXES))


@given(tag=TAGS, ms=st.integers(0, 2**48 - 1))
def test_an_owned_id_names_its_customer(tag, ms):
    customer = ids.customer_of_tag(tag)
    made = ids.new_owned(customer, ms)
    assert ids.customer_of(made) == customer and ids.tag_of(made) == tag == ids.tag_of(customer)
    assert made.version == 8 and made.variant == uuid.RFC_4122 and made.int >> 80 == ms


@given(value=UUIDS, kind=KINDS)
def test_what_is_shown_is_read_back(value, kind):
    shown = ids.show(kind, value)
    prefix = ids.PREFIXES[kind] + "_"
    assert shown.startswith(prefix) and len(shown) == len(prefix) + 26
    assert ids.parse(kind, shown) == value == ids.parse(kind, prefix + shown[len(prefix):].lower())
    assert ids.parse(kind, str(value)) == value


@given(one=UUIDS, other=UUIDS)
def test_shown_ids_sort_like_the_ids(one, other):
    assert (ids.show("payment", one) < ids.show("payment", other)) == (one < other)


@pytest.mark.parametrize(
    "text",
    ["", "pay_", "pay_1", "cus_" + "0" * 26, "pay_" + "0" * 25, "pay_" + "0" * 27,
     "pay_" + "Z" * 26, "pay_" + "0" * 25 + "U", "x" * 32, "x" * 36, "PAY_" + "0" * 26,
     "pay_" + "０" * 26, "\x00"],
)  # fmt: skip
def test_a_text_that_names_nothing_is_not_found(text):
    with pytest.raises(NotFound):
        ids.parse("payment", text)


def test_ids_made_later_sort_later():
    customer = ids.new_customer()
    made = []
    for _ in range(3):
        made.append(ids.new_owned(customer))
        time.sleep(0.002)
    assert made == sorted(made)
    assert abs((made[0].int >> 80) / 1000 - time.time()) < 5


def test_catalogue_ids_are_version_7():
    made = {ids.new_catalog() for _ in range(100)}
    assert len(made) == 100 and {one.version for one in made} == {7}


@given(parts=st.lists(st.text(), min_size=1, max_size=4))
def test_a_request_key_depends_on_every_part_and_its_place(parts):
    key = ids.request_key(*parts)
    assert key == ids.request_key(*parts)
    assert key != ids.request_key(*parts, "")
    assert key != ids.request_key("x" + parts[0], *parts[1:])


def test_request_keys_do_not_run_together():
    assert ids.request_key("ab", "c") != ids.request_key("a", "bc")


def test_customers_are_random_and_an_external_id_may_not_look_like_one():
    made = {ids.new_customer() for _ in range(1_000)}
    assert len(made) == 1_000
    assert ids.looks_like_customer(ids.show("customer", made.pop()))
    assert not ids.looks_like_customer("user_123")


def test_an_id_tells_whose_clock_may_be_moved_by_hand():
    assert not any(ids.may_have_clock(ids.new_customer()) for _ in range(20_000))
    made = {ids.new_customer(clocked=True) for _ in range(1_000)}
    assert len(made) == 1_000 and all(map(ids.may_have_clock, made))
    assert all(ids.may_have_clock(ids.customer_of(ids.new_owned(one))) for one in made)


def test_no_two_kinds_share_a_prefix():
    assert len(set(ids.PREFIXES.values())) == len(ids.PREFIXES)
