"""The catalogue at a provider: pushed, compared, adopted; from both sides, on the simulator."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from paydesk import crash
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotSupported
from paydesk.flows import catalog, catalog_sync, items
from paydesk.providers.stripe import SIMULATOR_KEY
from paydesk.rules.money import EUR, USD, Money


@pytest.fixture
def shop(env, sim):
    """One pack and one item on sale here, nothing there."""
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"),
                        description="For makers")  # fmt: skip
    items.upsert(env, "python", name="Python Course", price=EUR("49.00"),
                 grants=["course:python"])  # fmt: skip
    yield env
    crash.disarm()


@pytest.fixture
def there(sim) -> Any:
    """The dashboard: Stripe's own SDK."""
    return stripe.StripeClient(SIMULATOR_KEY, base_addresses={"api": sim.url}).v1


def product_of(env, key: str) -> str:
    kind, table = ("pack", catalog.get_pack) if key == "creator" else ("item", items.get)
    with env.db.read() as tx:
        return tx.value(
            "select product_ref from catalog_refs where kind = %(kind)s and local_id = %(id)s",
            {"kind": kind, "id": table(env, key).uuid},
        )


def drifts(env) -> set[tuple[str, str | None, str]]:
    return {(one.type, one.key, one.changed) for one in catalog_sync.drift(env)}


def active_prices(there, product: str) -> list[tuple[int, str]]:
    return [(p.unit_amount, p.currency)
            for p in there.prices.list({"product": product, "active": True}).data]  # fmt: skip


def test_a_push_makes_products_and_prices_and_a_second_one_nothing(shop, there, sim):  # S4.1 C22
    assert drifts(shop) == {("only_here", "creator", "here"), ("only_here", "python", "here")}
    dry = catalog_sync.sync(shop, dry_run=True)
    assert [one.actions for one in dry.changes] == [("create", "price")] * 2
    assert there.products.list().data == []
    seen: list[tuple[int, int]] = []
    done = catalog_sync.sync(shop, progress=lambda n, of: seen.append((n, of)))
    assert (len(done.changes), done.failed) == (2, 0) and seen[-1] == (2, 2)
    pack = there.products.retrieve(product_of(shop, "creator"))
    mine = catalog.get_pack(shop, "creator")
    assert (pack.name, pack.description, pack.active) == ("Creator Pack", "For makers", True)
    assert pack.metadata.to_dict() == {
        "paydesk_id": mine.id, "paydesk_key": "creator", "credits": "150",
    }  # fmt: skip
    assert there.prices.retrieve(pack.default_price).unit_amount == 999
    assert active_prices(there, product_of(shop, "python")) == [(4900, "eur")]
    before = len(sim.events())
    again = catalog_sync.sync(shop)
    assert (again.changes, again.unchanged) == ((), 2)
    assert len(sim.events()) == before
    assert catalog_sync.drift(shop) == []


def test_a_new_price_takes_the_old_ones_place_and_back_again(shop, there):  # C22
    catalog_sync.sync(shop)
    product = product_of(shop, "creator")
    for price in ("12.99", "9.99", "12.99"):
        catalog.upsert_pack(shop, "creator", name="Creator Pack", credits=150, price=USD(price),
                            description="For makers")  # fmt: skip
        assert drifts(shop) == {("price", "creator", "here")}
        (change,) = catalog_sync.sync(shop).changes
        assert change.actions == ("price",)
        assert active_prices(there, product) == [(USD(price).minor, "usd")]
        assert catalog_sync.drift(shop) == []
    # A price is made once for each amount, and taken up again.
    assert len(there.prices.list({"product": product}).data) == 2


def test_what_is_sold_no_more_is_archived_and_restored(shop, there):
    catalog_sync.sync(shop)
    items.deactivate(shop, "python")
    assert drifts(shop) == {("active", "python", "here")}
    assert catalog_sync.sync(shop).changes[0].actions == ("archive",)
    assert there.products.retrieve(product_of(shop, "python")).active is False
    assert catalog_sync.sync(shop).changes == ()
    items.upsert(shop, "python", name="Python Course", price=EUR("49.00"),
                 grants=["course:python"])  # fmt: skip
    assert catalog_sync.sync(shop).changes[0].actions == ("restore",)
    assert there.products.retrieve(product_of(shop, "python")).active is True


def test_what_never_was_on_sale_is_not_pushed(env, sim, there):
    catalog.upsert_pack(env, "old", name="Old", credits=1, price=USD("1.00"), active=False)
    assert catalog_sync.drift(env) == []
    assert catalog_sync.sync(env).changes == ()
    assert there.products.list().data == []


def test_changes_in_the_dashboard_are_named_and_written_over(shop, there, sim):  # C22
    catalog_sync.sync(shop)
    pack, course = product_of(shop, "creator"), product_of(shop, "python")
    there.products.update(pack, {"name": "Cheap Pack", "description": "", "active": False,
                                 "metadata": {"credits": "200"}})  # fmt: skip
    cheap = there.prices.create({"product": course, "currency": "usd", "unit_amount": 100})
    there.products.update(course, {"default_price": cheap.id})
    assert drifts(shop) == {
        (type, "creator", "there") for type in ("name", "description", "archived", "metadata")
    } | {("currency", "python", "there")}
    done = catalog_sync.sync(shop)
    assert {one.key: set(one.actions) for one in done.changes} == {
        "creator": {"update", "restore"}, "python": {"price"},
    }  # fmt: skip
    again = there.products.retrieve(pack)
    assert (again.name, again.active, again.metadata["credits"]) == ("Creator Pack", True, "150")
    assert active_prices(there, course) == [(4900, "eur")]
    assert catalog_sync.drift(shop) == []


def test_an_alteration_behind_everybodys_back_is_found(shop, sim):
    catalog_sync.sync(shop)
    sim.alter(product_of(shop, "creator"), name="Altered")
    assert drifts(shop) == {("name", "creator", "there")}
    sim.drop(product_of(shop, "python"))
    assert drifts(shop) == {("name", "creator", "there"), ("only_here", "python", "there")}
    gone = product_of(shop, "python")
    catalog_sync.sync(shop)
    assert product_of(shop, "python") != gone
    assert catalog_sync.drift(shop) == []


def test_a_dashboard_change_is_adopted_on_demand(shop, there):
    catalog_sync.sync(shop)
    pack = product_of(shop, "creator")
    cheap = there.prices.create({"product": pack, "currency": "usd", "unit_amount": 799})
    there.products.update(pack, {"name": "Maker Pack", "default_price": cheap.id,
                                 "metadata": {"credits": "160"}})  # fmt: skip
    change = catalog_sync.adopt(shop, "creator")
    assert change.actions == ("adopt",)
    mine = catalog.get_pack(shop, "creator")
    assert (mine.name, mine.price, mine.credits) == ("Maker Pack", USD("7.99"), 160)
    assert catalog_sync.drift(shop) == [] and catalog_sync.sync(shop).changes == ()


def made(there, **more: Any) -> str:
    told: dict[str, Any] = {
        "name": "Studio Pack", "default_price_data": {"currency": "jpy", "unit_amount": 1500},
        "metadata": {"paydesk_key": "studio", "credits": "400", "days": "90"},
    }  # fmt: skip
    return there.products.create({**told, **more}).id


def test_a_product_of_the_dashboard_becomes_a_pack(shop, there):
    catalog_sync.sync(shop)
    product = made(there)
    (found,) = catalog_sync.drift(shop)
    assert (found.type, found.key, found.product, found.reason) == (
        "only_there", "studio", product, None)  # fmt: skip
    assert catalog_sync.sync(shop).changes == ()
    catalog_sync.adopt(shop, "studio")
    mine = catalog.get_pack(shop, "studio")
    assert (mine.credits, mine.price, mine.expires_days) == (400, Money(1500, "jpy", minor=True),
                                                            90)  # fmt: skip
    assert there.products.retrieve(product).metadata["paydesk_id"] == mine.id
    assert catalog_sync.drift(shop) == [] and catalog_sync.sync(shop).changes == ()


def test_a_product_of_the_dashboard_becomes_an_item(env, there):
    product = made(there, metadata={"paydesk_key": "labs", "grants": "lab:optics lab:sound"})
    catalog_sync.adopt(env, product)
    mine = items.get(env, "labs")
    assert [(g["type"], g["id"]) for g in mine.grants] == [("lab", "optics"), ("lab", "sound")]
    assert catalog_sync.drift(env) == []


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"active": False}, "archived"),
        ({"default_price_data": None}, "no default price"),
        ({"metadata": {"credits": "5"}}, "no paydesk_key"),
        ({"metadata": {"paydesk_key": "k"}}, "not one of"),
        ({"metadata": {"paydesk_key": "k", "credits": "5", "grants": "a:b"}}, "not one of"),
        ({"metadata": {"paydesk_key": "k", "credits": "1e3"}}, "no whole number"),
        ({"metadata": {"paydesk_key": "k", "credits": "٣"}}, "no whole number"),
        ({"metadata": {"paydesk_key": "k", "grants": "  "}}, "empty"),
        ({"default_price_data": {"currency": "usd", "unit_amount": 0}}, "above zero"),
    ],
)  # fmt: skip
def test_what_cannot_be_adopted_is_refused_with_the_reason(env, there, more, reason):
    told = {name: value for name, value in more.items() if value is not None}
    base = {"name": "Studio", "default_price_data": {"currency": "usd", "unit_amount": 900},
            "metadata": {"paydesk_key": "k", "credits": "5"}}  # fmt: skip
    base = {k: v for k, v in base.items() if more.get(k, 1) is not None}
    product = there.products.create({**base, **told}).id
    with pytest.raises(InvalidRequest, match=reason):
        catalog_sync.adopt(env, product)
    assert catalog.list_packs(env) == [] and items.list_(env) == []
    found = catalog_sync.drift(env)
    assert [reason in (one.reason or "") for one in found] == ([True] if told.get("active", True)
                                                               else [])  # fmt: skip


def test_a_key_that_is_taken_here_is_not_adopted(shop, there):
    catalog_sync.sync(shop)
    product = made(there, metadata={"paydesk_key": "creator", "credits": "1"})
    with pytest.raises(Conflict):
        catalog_sync.adopt(shop, product)
    assert catalog.get_pack(shop, "creator").credits == 150
    with pytest.raises(NotFound):
        catalog_sync.adopt(shop, "nothing")


def test_a_copy_of_a_product_is_a_strangers(shop, there):
    catalog_sync.sync(shop)
    pack = there.products.retrieve(product_of(shop, "creator"))
    copy = made(there, metadata=pack.metadata.to_dict())
    assert [(one.type, one.product) for one in catalog_sync.drift(shop)] == [("only_there", copy)]
    assert catalog_sync.sync(shop).changes == ()


@pytest.mark.parametrize(
    "place", ["catalog_product_made", "catalog_price_made", "catalog_price_set"]
)
def test_death_on_the_next_line_leaves_what_the_next_run_goes_on_with(shop, there, place):
    catalog_sync.sync(shop)
    catalog.upsert_pack(shop, "creator", name="Maker Pack", credits=150, price=USD("12.99"))
    catalog.upsert_pack(shop, "studio", name="Studio Pack", credits=400, price=USD("29.00"))
    for _ in range(2):
        crash.arm(place)
        with pytest.raises(crash.CrashNow):
            catalog_sync.sync(shop)
    catalog_sync.sync(shop)
    assert catalog_sync.drift(shop) == [] and catalog_sync.sync(shop).changes == ()
    assert len(there.products.list().data) == 3
    assert len(there.prices.list().data) == 4
    assert active_prices(there, product_of(shop, "creator")) == [(1299, "usd")]


def test_an_adoption_that_died_is_carried_on(env, there):
    made(there)
    crash.arm("catalog_adopted")
    with pytest.raises(crash.CrashNow):
        catalog_sync.adopt(env, "studio")
    assert catalog_sync.adopt(env, "studio").actions == ("adopt",)
    assert catalog_sync.drift(env) == []
    assert len(there.products.list().data) == 1


def test_a_refusal_of_one_leaves_the_others(shop, there):
    """A price that the provider's scale cannot hold."""
    catalog.upsert_pack(shop, "odd", name="Odd", credits=1, price=Money(1001, "isk", minor=True))
    catalog.upsert_pack(shop, "iraq", name="Iraq", credits=1, price=Money(1001, "kwd", minor=True))
    done = catalog_sync.sync(shop)
    assert {one.key for one in done.changes if one.error} == {"iraq"}
    assert {one.key for one in done.changes if not one.error} == {"creator", "python", "odd"}


def test_only_a_provider_that_keeps_one_has_a_catalogue(env, sim):
    with pytest.raises(NotSupported):
        catalog_sync.drift(env, "manual")


def test_events_of_products_change_nothing(shop, there, sim):
    """C22: ours is the truth; a price in the dashboard sells nothing here."""
    from paydesk.flows import inbox

    catalog_sync.sync(shop)
    there.products.update(product_of(shop, "creator"), {"name": "Cheap"})
    told = sim.deliveries("product.updated", "price.created")
    assert told
    for one in told:
        for received in inbox.receive(shop, "stripe", one.body, one.headers):
            assert received is not None
    assert catalog.get_pack(shop, "creator").name == "Creator Pack"
    with shop.db.read() as tx:
        assert tx.value("select count(*) from audit_log where action = 'catalog.pushed'") == 1
