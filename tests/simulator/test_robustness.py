"""Whatever is sent, the simulator refuses it in Stripe's words and never fails itself."""

import string

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from simulator_support import session_params

from paydesk.simulator import forms, money, shapes
from paydesk.simulator.api import ROUTES
from paydesk.simulator.errors import StripeError

KEYS = sorted(key for choices in ROUTES.values() for key, _ in choices)
WORDS = st.sampled_from(
    ["", "1", "-1", "usd", "true", "0.5", "é", "😀", "x" * 600, "99999999999999999999",
     "pm_card_visa", "a@b.co", "http://shop.test/", "null", "[]", "{}", "' or 1=1 --", "12/40"]
) | st.text(string.printable, max_size=20)


def known_names(key):
    return sorted(shapes.resolve(shapes.request_shape(key))["p"])


@st.composite
def calls(draw):
    """An operation with parameters that are partly its own, with values that are mostly wrong."""
    key = draw(st.sampled_from(KEYS))
    names = st.sampled_from([*known_names(key), "expand[0]", "metadata[a]", "card[number]", "zz"])
    inside = st.sampled_from(["", "", "[a]", "[0]", "[]", "[0][a]", "[gt]", "[card][number]"])
    form = draw(st.dictionaries(st.tuples(names, inside).map("".join), WORDS, max_size=5))
    return key, form


@settings(max_examples=300, deadline=None)
@given(calls())
def test_a_call_with_any_parameters_is_answered_or_refused(shared_sandbox, call):
    key, form = call
    method, path = key.split(" ")
    for name in ("intent", "customer", "charge", "session", "refund", "price", "product", "id",
                 "payment_method", "webhook_endpoint"):
        path = path.replace(f"{{{name}}}", "xx_1")
    options = {"params": form} if method == "GET" else {"data": form}
    answer = httpx.request(
        method, shared_sandbox.url + path, auth=(shared_sandbox.secret_key, ""), verify=False,
        **options,
    )
    assert answer.status_code < 500, answer.text
    shapes.validate_answer(key, answer.status_code, answer.json())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b"name=%ED%A0%80")
@example(b"name=%FF")
def test_any_bytes_are_a_form_or_refused(body):
    try:
        nested = forms.parse(body)
    except StripeError as refused:
        assert refused.status == 400
    else:
        assert isinstance(nested, dict)


@settings(max_examples=100, deadline=None)
@given(form=st.dictionaries(
    st.sampled_from(["email", "number", "expiry", "cvc", "name", "test_card", "filled_in"]), WORDS
))
def test_any_form_of_the_checkout_page_is_answered(shared_sandbox, form):
    session = shared_sandbox.request("POST", "/v1/checkout/sessions", session_params())
    answer = httpx.post(session["url"], data=form, verify=False)
    assert answer.status_code in (303, 402, 422)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Basic", "Basic !!", "Basic /w==", "Digest x", "Bearer é"],
)
def test_any_authorization_is_answered(shared_sandbox, header):
    answer = httpx.get(
        f"{shared_sandbox.url}/v1/customers", headers={b"Authorization": header.encode()}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1//", "/v1/customers/", "/v1/%00", "/v2/x",
                                  "/c/pay/%2e%2e", "/3d_secure/%F0", "/static/", "/nothing"])
def test_any_address_is_answered(shared_sandbox, path):
    answer = httpx.get(f"{shared_sandbox.url}{path}", auth=(shared_sandbox.secret_key, ""))
    assert answer.status_code in (200, 307, 404)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [(999, "usd", "$9.99"), (5, "eur", "€0.05"), (123456789, "gbp", "£1,234,567.89"),
     (500, "jpy", "¥500"), (12345, "kwd", "12.345 KWD"), (-545, "usd", "−$5.45"),
     (0, "sek", "0.00 SEK")],
)
def test_amounts_are_written_as_people_write_them(amount, currency, shown):
    assert money.shown(amount, currency) == shown
