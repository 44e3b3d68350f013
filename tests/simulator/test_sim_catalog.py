"""Products and prices as a catalogue that is kept in step from both sides."""

import pytest
import stripe
from simulator_support import session_params


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def make(client, **more):
    return client.v1.products.create(
        {"name": "Creator Pack", "default_price_data": {"currency": "usd", "unit_amount": 999},
         **more}
    )


def test_a_product_made_with_its_price_tells_of_both(sandbox, client):
    product = make(client, metadata={"pack": "creator"}, tax_code="txcd_10000000")
    assert types(sandbox) == ["product.created", "price.created", "product.updated"]
    (updated,) = sandbox.events("product.updated")
    assert updated["data"]["object"]["default_price"] == product.default_price
    assert updated["data"]["previous_attributes"] == {"default_price": None}


def test_each_change_is_told_with_what_was_before(sandbox, client):
    product = make(client)
    client.v1.products.update(
        product.id, {"name": "Maker Pack", "active": False, "metadata": {"pack": "maker"}}
    )
    before = sandbox.events("product.updated")[-1]["data"]["previous_attributes"]
    assert before == {"name": "Creator Pack", "active": True, "metadata": {}}
    client.v1.products.update(product.id, {"name": "Maker Pack"})
    assert len(sandbox.events("product.updated")) == 2
    client.v1.prices.update(product.default_price, {"nickname": "Launch"})
    (price,) = sandbox.events("price.updated")
    assert price["data"]["previous_attributes"] == {"nickname": None}


def test_the_default_price_is_changed_and_then_the_old_one_archived(client):
    product = make(client)
    other = client.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 1299}
    )
    with pytest.raises(stripe.InvalidRequestError, match="default price"):
        client.v1.prices.update(product.default_price, {"active": False})
    client.v1.products.update(product.id, {"default_price": other.id})
    assert client.v1.prices.update(product.default_price, {"active": False}).active is False
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        client.v1.products.update(product.id, {"default_price": product.default_price})
    assert client.v1.products.update(product.id, {"default_price": ""}).default_price is None


def test_a_price_of_another_product_cannot_become_the_default(client):
    product, other = make(client), make(client)
    with pytest.raises(stripe.InvalidRequestError, match="does not belong"):
        client.v1.products.update(product.id, {"default_price": other.default_price})


def test_a_lookup_key_that_moves_is_told_by_both_prices(sandbox, client):
    product = make(client)
    params = {"product": product.id, "currency": "usd", "unit_amount": 500, "lookup_key": "pack"}
    first = client.v1.prices.create(params)
    client.v1.prices.create({**params, "unit_amount": 600, "transfer_lookup_key": True})
    (lost,) = sandbox.events("price.updated")
    assert lost["data"]["object"]["id"] == first.id
    assert lost["data"]["previous_attributes"] == {"lookup_key": "pack"}


def test_products_and_prices_are_listed_and_searched(sandbox, client):
    pack = make(client, metadata={"pack": "creator"}, url="http://shop.test/creator")
    mug = client.v1.products.create({"name": "Mug", "shippable": True, "active": False})
    client.v1.checkout.sessions.create(session_params())
    listed = client.v1.products.list
    assert [one.id for one in listed().data] == [mug.id, pack.id]
    assert [one.id for one in listed({"active": True}).data] == [pack.id]
    assert [one.id for one in listed({"shippable": True}).data] == [mug.id]
    assert [one.id for one in listed({"url": "http://shop.test/creator"}).data] == [pack.id]
    assert [one.id for one in listed({"ids": [mug.id]}).data] == [mug.id]
    for query, found in (
        ("metadata['pack']:'creator'", pack.id), ("name~'ug'", mug.id), ("active:'false'", mug.id),
    ):
        matches = client.v1.products.search({"query": query}).data
        assert [one.id for one in matches] == [found]
    prices = client.v1.prices.search({"query": f"product:'{pack.id}' AND active:'true'"}).data
    assert [one.id for one in prices] == [pack.default_price]
    assert client.v1.prices.list({"recurring": {"interval": "month"}}).data == []


def test_what_is_not_for_sale_cannot_be_bought(client):
    product = make(client)
    client.v1.products.update(product.id, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        client.v1.checkout.sessions.create(
            session_params(line_items=[{"price": product.default_price, "quantity": 1}])
        )


@pytest.mark.parametrize("told", [True, False])
def test_the_dashboard_changes_a_product_and_a_price(sandbox, client, told):
    product = make(client)
    already = len(sandbox.events())
    sandbox.alter(product.id, event=told, name="Renamed", metadata={"pack": "x"})
    sandbox.alter(product.default_price, event=told, unit_amount=1500, unit_amount_decimal="1500")
    assert client.v1.products.retrieve(product.id).name == "Renamed"
    assert client.v1.prices.retrieve(product.default_price).unit_amount == 1500
    new = sandbox.events()[already:]
    assert [one["type"] for one in new] == (["product.updated", "price.updated"] if told else [])
    if told:
        assert new[0]["data"]["previous_attributes"]["name"] == "Creator Pack"
        assert new[0]["request"] == {"id": None, "idempotency_key": None}


def test_a_product_without_prices_is_deleted_and_told(sandbox, client):
    product = client.v1.products.create({"name": "Mug"})
    assert client.v1.products.delete(product.id).deleted
    assert types(sandbox)[-1] == "product.deleted"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.products.retrieve(product.id)
