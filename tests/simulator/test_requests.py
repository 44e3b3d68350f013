"""Requests: keys, unknown and wrong parameters, idempotency, cursors, expand."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import stripe
from simulator_support import make_client, session_params

from paydesk.simulator import shapes
from paydesk.simulator.testing import SECRET_KEY


def error_of(answer: httpx.Response) -> dict:
    shapes.validate("error", answer.json())
    return answer.json()["error"]


def test_a_call_without_a_key_is_refused(sandbox):
    answer = httpx.get(f"{sandbox.url}/v1/customers")
    assert answer.status_code == 401
    assert error_of(answer)["message"].startswith("You did not provide an API key")


def test_a_call_with_another_key_is_refused_without_showing_it(sandbox, http):
    wrong = "sk_test_another_key_of_somebody"
    answer = http.get("/v1/customers", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401
    assert wrong not in answer.text


def test_the_key_may_be_the_user_of_basic_authentication(sandbox):
    answer = httpx.get(f"{sandbox.url}/v1/customers", auth=(SECRET_KEY, ""))
    assert answer.status_code == 200


def test_an_unknown_parameter_is_refused(client):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.create({"nickname": "M"})
    assert refused.value.http_status == 400
    assert refused.value.code == "parameter_unknown"
    assert refused.value.param == "nickname"


def test_an_unknown_parameter_deep_inside_is_named_with_its_brackets(client):
    params = session_params(payment_intent_data={"colour": "red"})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.checkout.sessions.create(params)
    assert refused.value.param == "payment_intent_data[colour]"


def test_a_missing_parameter_is_named(client):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.payment_intents.create({"amount": 500})
    assert (refused.value.code, refused.value.param) == ("parameter_missing", "currency")


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("amount=abc&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=5.5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=99999999999999999999&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=&currency=usd", "parameter_invalid_empty", "amount"),
        ("amount=500&currency=usd&confirm=perhaps", None, "confirm"),
        ("amount=500&currency=usd&capture_method=never", None, "capture_method"),
        ("amount=500&currency=usd&payment_method_types=card", None, "payment_method_types"),
        ("amount=500&currency=usd&metadata=card", None, "metadata"),
        ("amount[a]=500&currency=usd", None, "amount"),
        ("amount=500&currency=usd&payment_details=text", None, "payment_details"),
        ("amount=500&currency=zzz", None, "currency"),
        ("amount=49&currency=usd", "amount_too_small", "amount"),
        ("amount=100000000&currency=usd", "amount_too_large", "amount"),
        ("amount=-5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=500&currency=usd&customer=cus_nobody", "resource_missing", "customer"),
        ("amount=500&currency=usd&off_session=true", None, "off_session"),
        (f"amount=500&currency=usd&description={'x' * 5001}", None, "description"),
        (f"amount=500&currency=usd&metadata[{'k' * 41}]=1", None, "metadata"),
    ],
)
def test_wrong_parameters_are_refused_by_name(http, form, code, param):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post("/v1/payment_intents", content=form, headers=headers)
    error = error_of(answer)
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert (error.get("code"), error["param"]) == (code, param)


def test_json_instead_of_a_form_is_refused(http):
    answer = http.post("/v1/customers", json={"name": "Maya"})
    assert answer.status_code == 400
    assert "application/x-www-form-urlencoded" in error_of(answer)["message"]


def test_an_unknown_address_and_one_the_simulator_does_not_have_are_told_apart(http):
    assert "Unrecognized request URL" in error_of(http.get("/v1/colours"))["message"]
    answer = http.post("/v1/payouts")
    assert answer.status_code == 404
    assert "simulator does not have" in error_of(answer)["message"]


def test_a_request_larger_than_a_megabyte_is_refused(http):
    answer = http.post("/v1/customers", data={"description": "x" * 1_100_000})
    assert answer.status_code == 413


def test_a_version_header_is_accepted_and_echoed(http):
    answer = http.get("/v1/customers", headers={"Stripe-Version": "2023-10-16"})
    assert (answer.status_code, answer.headers["stripe-version"]) == (200, "2023-10-16")
    refused = http.get("/v1/customers", headers={"Stripe-Version": "yesterday"})
    assert refused.status_code == 400


def test_the_same_idempotency_key_replays_the_answer_byte_for_byte(http):
    headers = {"Idempotency-Key": "order-1"}
    first = http.post("/v1/customers", data={"name": "Maya"}, headers=headers)
    again = http.post("/v1/customers", data={"name": "Maya"}, headers=headers)
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["original-request"] == first.headers["request-id"]
    assert len(http.get("/v1/customers").json()["data"]) == 1


def test_the_same_key_with_other_parameters_is_refused(client):
    client.v1.customers.create({"name": "Maya"}, {"idempotency_key": "order-2"})
    with pytest.raises(stripe.IdempotencyError) as refused:
        client.v1.customers.create({"name": "Noor"}, {"idempotency_key": "order-2"})
    assert refused.value.http_status == 400


def test_a_key_of_one_call_is_not_a_key_of_another(client):
    client.v1.customers.create({}, {"idempotency_key": "order-3"})
    with pytest.raises(stripe.IdempotencyError):
        client.v1.products.create({"name": "Pack"}, {"idempotency_key": "order-3"})


def test_a_declined_charge_is_replayed_too(client):
    params = {
        "amount": 999, "currency": "usd", "confirm": True, "payment_method_types": ["card"],
        "payment_method": "pm_card_visa_chargeDeclined",
    }
    charges = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            client.v1.payment_intents.create(params, {"idempotency_key": "order-4"})
        charges.append(declined.value.error.charge)
    assert charges[0] == charges[1]
    assert len(client.v1.charges.list().data) == 1


def test_a_refused_form_does_not_use_up_the_key(client):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.products.create({}, {"idempotency_key": "order-5"})
    made = client.v1.products.create({"name": "Pack"}, {"idempotency_key": "order-5"})
    assert made.name == "Pack"


def test_a_key_is_forgotten_after_a_day(sandbox, client):
    first = client.v1.customers.create({}, {"idempotency_key": "order-6"})
    sandbox.advance(86_401)
    second = client.v1.customers.create({}, {"idempotency_key": "order-6"})
    assert first.id != second.id


def test_a_call_whose_key_is_being_answered_gets_a_conflict(sandbox, http):
    busy, release = threading.Event(), threading.Event()

    def occupy(tx):
        busy.set()
        release.wait(60)

    sandbox.sim.store.submit(occupy)
    assert busy.wait(60)
    headers = {"Idempotency-Key": "order-7"}
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(http.post, "/v1/customers", headers=headers) for _ in range(2)]
        answers = []
        while not answers:  # the second to arrive is answered while the first one waits
            answers = [call.result() for call in calls if call.done()]
        release.set()
        statuses = sorted(call.result().status_code for call in calls)
    assert statuses == [200, 409]
    assert error_of(answers[0])["code"] == "idempotency_key_in_use"
    assert len(http.get("/v1/customers").json()["data"]) == 1


def test_forty_parallel_calls_with_one_key_make_one_object(sandbox):
    client = make_client(sandbox, retries=8)
    with ThreadPoolExecutor(20) as pool:
        made = list(
            pool.map(
                lambda _: client.v1.customers.create({}, {"idempotency_key": "order-8"}).id,
                range(40),
            )
        )
    assert len(set(made)) == 1
    assert len(sandbox.objects("customer")) == 1


def test_cursors_lead_through_a_list_in_both_directions(client):
    made = [client.v1.customers.create({"name": f"Customer {n}"}).id for n in range(7)]
    newest_first = made[::-1]
    page = client.v1.customers.list({"limit": 3})
    assert [one.id for one in page.data] == newest_first[:3]
    assert page.has_more
    second = client.v1.customers.list({"limit": 3, "starting_after": page.data[-1].id})
    assert [one.id for one in second.data] == newest_first[3:6]
    back = client.v1.customers.list({"limit": 2, "ending_before": second.data[0].id})
    assert [one.id for one in back.data] == newest_first[1:3]
    walked = [one.id for one in client.v1.customers.list({"limit": 2}).auto_paging_iter()]
    assert walked == newest_first


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_page_of_a_wrong_size_is_refused(client, limit):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.list({"limit": limit})


def test_a_cursor_that_names_nothing_is_refused(client):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.list({"starting_after": "cus_nobody"})
    assert refused.value.code == "resource_missing"


def test_a_list_is_narrowed_by_time(sandbox, client):
    first = client.v1.customers.create()
    sandbox.advance(100)
    second = client.v1.customers.create()
    later = client.v1.customers.list({"created": {"gt": first.created}})
    assert [one.id for one in later.data] == [second.id]
    exact = client.v1.customers.list({"created": first.created})
    assert [one.id for one in exact.data] == [first.id]


def test_expand_puts_objects_in_the_place_of_their_ids(sandbox, client):
    made = client.v1.checkout.sessions.create(session_params())
    assert sandbox.pay(made.id).complete
    session = client.v1.checkout.sessions.retrieve(
        made.id,
        {"expand": ["line_items", "payment_intent.latest_charge.balance_transaction"]},
    )
    assert session.line_items.data[0].description == "Creator Pack"
    transaction = session.payment_intent.latest_charge.balance_transaction
    assert (transaction.amount, transaction.fee, transaction.net) == (999, 59, 940)


def test_expand_works_inside_lists(sandbox, client):
    made = client.v1.checkout.sessions.create(session_params())
    sandbox.pay(made.id)
    listed = client.v1.checkout.sessions.list({"expand": ["data.payment_intent"]})
    assert listed.data[0].payment_intent.status == "succeeded"


@pytest.mark.parametrize("path", ["amount", "nothing", "customer.metadata.a.b.c", "charge"])
def test_a_property_that_cannot_be_expanded_is_refused(client, path):
    intent = client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="expand"):
        client.v1.payment_intents.retrieve(intent.id, {"expand": [path]})


def test_a_parameter_that_cannot_be_expanded_undoes_the_call(client):
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.create({"name": "Maya", "expand": ["name"]})
    assert client.v1.customers.list().data == []
