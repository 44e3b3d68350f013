"""Promo codes: limits exact under concurrency, uses given back once, reservations used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from paydesk import crash, ids
from paydesk.errors import Conflict, InvalidPromoCode, InvalidRequest
from paydesk.flows import catalog, customers, events, promos
from paydesk.rules.money import EUR, USD


@pytest.fixture
def pack(env):
    return catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))


@pytest.fixture
def maya(env):
    return customers.ensure(env, "maya")


def used(env, promo) -> tuple[int, int]:
    """The counter, and the uses that it should count."""
    with env.db.read() as tx:
        count = tx.value("select used from promo_counts where promo_id = %(p)s", {"p": promo.uuid})
        rows = tx.value(
            "select count(*) from promo_uses where promo_id = %(p)s and state <> 'released'",
            {"p": promo.uuid},
        )
    return count, rows


def reason(call, *args, **more) -> str | None:
    try:
        call(*args, **more)
    except InvalidPromoCode as refused:
        return refused.reason
    return None


def put_payment(env, promo, payment_id, state="pending", *, captured=0, ended=False):
    """A payment as a checkout writes it, with one attempt, in the given state."""
    customer_id = ids.customer_of(payment_id)
    with env.db.transaction() as tx:
        tx.run(
            "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
            " captured_minor, price_minor, handle, request_key, request_hash, promo_id)"
            " values (%s, %s, %s, 'stripe', 'usd', 899, %s, 999, %s, gen_random_uuid(), '', %s)",
            (customer_id, payment_id, state, captured, str(payment_id), promo and promo.uuid),
        )
        tx.run(
            "insert into attempts (customer_id, id, payment_id, provider, state, ended_at)"
            " values (%s, %s, %s, 'stripe', %s, %s)",
            (customer_id, ids.new_owned(customer_id), payment_id,
             "expired" if ended else "open", env.now() if ended else None),
        )  # fmt: skip
    return payment_id


def set_state(env, payment_id, state, *, ended=True):
    with env.db.transaction() as tx:
        tx.run("update payments set state = %s where id = %s", (state, payment_id))
        tx.run("update attempts set ended_at = %s where payment_id = %s",
               (env.now() if ended else None, payment_id))  # fmt: skip


# Limits ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_thousand_redeemers_of_a_code_for_a_hundred_make_exactly_a_hundred(env):
    """I18 S4.41"""
    promo = promos.upsert_promo(env, "LAUNCH100", percent_off=20, cap=100)
    with ThreadPoolExecutor(16) as pool:
        people = list(pool.map(lambda n: customers.ensure(env, f"u{n}").uuid, range(1000)))

    def redeem(customer_id):
        return reason(promos.reserve, env, promo.uuid, customer_id, ids.new_owned(customer_id))

    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(redeem, people))
    assert outcomes.count(None) == 100 and outcomes.count("limit_reached") == 900
    assert used(env, promo) == (100, 100)


def test_one_customer_at_once_everywhere_stays_within_their_limit(env, maya):
    """S4.41 I18"""
    promo = promos.upsert_promo(env, "TWICE", percent_off=10, per_customer=2)

    def redeem(_):
        return reason(promos.reserve, env, promo.uuid, maya.uuid, ids.new_owned(maya.uuid))

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(redeem, range(20)))
    assert outcomes.count(None) == 2 and outcomes.count("customer_limit_reached") == 18
    assert used(env, promo) == (2, 2)


def test_two_first_checkouts_at_once_hold_one_first_purchase_code(env, maya):
    """I18: also with two different codes for a first purchase."""
    codes = [promos.upsert_promo(env, c, percent_off=10, first_purchase=True) for c in "AB"]

    def redeem(n):
        return reason(promos.reserve, env, codes[n % 2].uuid, maya.uuid, ids.new_owned(maya.uuid))

    with ThreadPoolExecutor(10) as pool:
        outcomes = list(pool.map(redeem, range(10)))
    assert outcomes.count(None) == 1 and outcomes.count("not_first_purchase") == 9


@pytest.mark.unposted
def test_a_customer_who_has_bought_makes_no_first_purchase(env, maya, pack):
    promos.upsert_promo(env, "FIRST", percent_off=10, first_purchase=True)
    assert reason(promos.quote, env, "FIRST", maya, pack=pack) is None
    put_payment(env, None, ids.new_owned(maya.uuid), "succeeded", captured=999)
    assert reason(promos.quote, env, "FIRST", maya, pack=pack) == "not_first_purchase"
    assert reason(promos.apply, env, "FIRST", maya, pack=pack) == "not_first_purchase"


def test_reserving_again_for_the_same_payment_counts_once(env, maya):
    """I27"""
    promo = promos.upsert_promo(env, "ONCE", percent_off=10, cap=1, per_customer=1)
    payment_id = ids.new_owned(maya.uuid)
    with ThreadPoolExecutor(8) as pool:
        outcomes = pool.map(
            lambda _: reason(promos.reserve, env, promo.uuid, maya.uuid, payment_id), range(8)
        )
        assert set(outcomes) == {None}
    assert used(env, promo) == (1, 1)


def test_a_smaller_cap_later_keeps_what_was_used(env, maya):
    promo = promos.upsert_promo(env, "CAP", percent_off=10, cap=5)
    for _ in range(3):
        promos.reserve(env, promo.uuid, maya.uuid, ids.new_owned(maya.uuid))
    promo = promos.upsert_promo(env, "CAP", percent_off=10, cap=2)
    assert promo.used == 3
    payment_id = ids.new_owned(maya.uuid)
    assert reason(promos.reserve, env, promo.uuid, maya.uuid, payment_id) == "limit_reached"


# Giving back -----------------------------------------------------------------------------------


def test_a_use_goes_back_once_however_often_and_in_parallel(env, maya):
    """I18"""
    promo = promos.upsert_promo(env, "BACK", percent_off=10, cap=1)
    payment_id = ids.new_owned(maya.uuid)
    promos.reserve(env, promo.uuid, maya.uuid, payment_id)
    put_payment(env, promo, payment_id, "expired", ended=True)
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: promos.release(env, payment_id), range(10)))
    assert done.count(True) == 1
    assert used(env, promo) == (0, 0)
    assert promos.release_expired(env) == 0
    with env.db.read() as tx:
        types = [e.type for e in events.follow(tx, maya.uuid, 1)]
    assert types == ["promo.released"]
    again = reason(promos.reserve, env, promo.uuid, maya.uuid, payment_id)
    assert again == "already_settled"


@pytest.mark.unposted
@pytest.mark.parametrize("state", ["pending", "processing", "requires_action", "succeeded"])
def test_a_payment_that_can_be_paid_or_was_keeps_its_use(env, clock, maya, state):
    """I18"""
    promo = promos.upsert_promo(env, "KEEP", percent_off=10)
    payment_id = ids.new_owned(maya.uuid)
    promos.reserve(env, promo.uuid, maya.uuid, payment_id)
    put_payment(env, promo, payment_id, state)
    clock.advance(days=2)
    assert promos.release(env, payment_id) is False
    assert promos.release_expired(env) == 0
    assert used(env, promo) == (1, 1)


def test_our_own_clock_gives_nothing_back_while_the_session_may_live(env, clock, maya):
    """I18: an expired payment whose session the provider has not called dead keeps its use."""
    promo = promos.upsert_promo(env, "LATE", percent_off=10)
    payment_id = ids.new_owned(maya.uuid)
    promos.reserve(env, promo.uuid, maya.uuid, payment_id)
    put_payment(env, promo, payment_id, "expired", ended=False)
    clock.advance(days=2)
    assert promos.release_expired(env) == 0
    set_state(env, payment_id, "expired", ended=True)
    assert promos.release_expired(env) == 1
    assert used(env, promo) == (0, 0)


def test_a_use_whose_payment_never_came_goes_back(env, clock, maya):
    """I18: the process died between reserving and writing the payment."""
    promo = promos.upsert_promo(env, "ORPHAN", percent_off=10)
    promos.reserve(env, promo.uuid, maya.uuid, ids.new_owned(maya.uuid))
    assert promos.release_expired(env) == 0
    clock.advance(minutes=16)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: promos.release_expired(env), range(4))) == 1
    assert used(env, promo) == (0, 0)


@pytest.mark.unposted
def test_a_paid_use_is_confirmed_and_gives_its_bonus(env, maya):
    promo = promos.upsert_promo(env, "BONUS", bonus_credits=50)
    payment_id = ids.new_owned(maya.uuid)
    promos.reserve(env, promo.uuid, maya.uuid, payment_id)
    put_payment(env, promo, payment_id, "succeeded", captured=899)
    promos.upsert_promo(env, "BONUS", bonus_credits=5)  # What was promised stays.
    for _ in range(2):
        with env.db.transaction(maya.uuid) as tx:
            assert promos.confirm(tx, [payment_id]) == {payment_id: 50}
    set_state(env, payment_id, "expired")
    assert promos.release(env, payment_id) is False
    assert used(env, promo) == (1, 1)


def test_late_money_takes_its_use_again_even_over_the_limit(env, maya):
    """The provider called the session dead and took money after all: facts are recorded."""
    promo = promos.upsert_promo(env, "DEAD", percent_off=10, cap=1)
    first, second = ids.new_owned(maya.uuid), ids.new_owned(maya.uuid)
    promos.reserve(env, promo.uuid, maya.uuid, first)
    put_payment(env, promo, first, "expired", ended=True)
    assert promos.release(env, first)
    promos.reserve(env, promo.uuid, maya.uuid, second)
    with env.db.transaction(maya.uuid) as tx:
        promos.confirm(tx, [first])
    assert used(env, promo) == (2, 2)


@pytest.mark.parametrize("point", ["promo_before_commit", "promo_after_reserve"])
def test_death_while_reserving_leaves_the_limit_exact(env, clock, maya, pack, point):
    """I18 I27"""
    promo = promos.upsert_promo(env, "CRASH", percent_off=10, cap=1, per_customer=1)
    crash.arm(point)
    with pytest.raises(crash.CrashNow):
        promos.apply(env, "CRASH", maya, pack=pack)
    crash.disarm()
    kept = promos.apply(env, "CRASH", maya, pack=pack)
    assert used(env, promo) == (1, 1)
    assert promos.apply(env, "CRASH", maya, pack=pack) == kept
    clock.advance(hours=1)
    assert promos.release_expired(env) == 1
    assert used(env, promo) == (0, 0)


# Applying --------------------------------------------------------------------------------------


def test_an_applied_code_waits_for_the_next_checkout_of_that_product(env, clock, maya, pack):
    """S4.18"""
    promo = promos.upsert_promo(env, "WELCOME10", percent_off=10, per_customer=1)
    kept = promos.apply(env, "welcome10", maya, pack=pack)
    assert (kept.total, kept.discount) == (USD("8.99"), USD("1.00"))
    assert kept.expires_at == env.now() + timedelta(minutes=30)
    assert ids.customer_of(kept.payment_id) == maya.uuid
    assert promos.apply(env, "WELCOME10", maya, pack="creator") == kept
    assert promos.claim(env, maya, pack=pack) == kept
    assert promos.claim(env, maya, credits=100, price=USD("100.00")) is None
    assert promos.quote(env, "WELCOME10", maya, pack=pack).total == USD("8.99")
    with env.db.transaction(maya.uuid) as tx:
        taken = promos.take_reservation(tx, maya.uuid, kept.product, env.now())
        assert taken == (promo.uuid, kept.payment_id)
        assert promos.take_reservation(tx, maya.uuid, kept.product, env.now()) is None
    put_payment(env, promo, kept.payment_id)
    assert promos.claim(env, maya, pack=pack) is None
    assert reason(promos.apply, env, "WELCOME10", maya, pack=pack) == "customer_limit_reached"
    clock.advance(days=1)
    assert promos.release_expired(env) == 0
    assert used(env, promo) == (1, 1)


def test_a_reservation_that_nobody_uses_ends_with_its_time(env, clock, maya, pack):
    """S4.18"""
    promo = promos.upsert_promo(env, "SPRING", percent_off=10, cap=1)
    kept = promos.apply(env, "SPRING", maya, pack=pack)
    clock.advance(minutes=30)
    assert promos.claim(env, maya, pack=pack) is None
    with env.db.transaction(maya.uuid) as tx:
        assert promos.take_reservation(tx, maya.uuid, kept.product, env.now()) is None
    assert promos.release_expired(env) == 1
    assert used(env, promo) == (0, 0)
    assert promos.apply(env, "SPRING", maya, pack=pack).payment_id != kept.payment_id


def test_another_code_takes_the_place_of_the_first(env, maya, pack):
    """I19: one code for a checkout; the first one's use goes back."""
    a = promos.upsert_promo(env, "A", percent_off=10, cap=1)
    b = promos.upsert_promo(env, "B", percent_off=20, cap=1)
    promos.apply(env, "A", maya, pack=pack)
    assert promos.apply(env, "B", maya, pack=pack).total == USD("7.99")
    assert (used(env, a), used(env, b)) == ((0, 0), (1, 1))
    other = customers.ensure(env, "other")
    assert reason(promos.apply, env, "B", other, pack=pack) == "limit_reached"
    promos.apply(env, "A", other, pack=pack)
    assert reason(promos.apply, env, "A", maya, pack=pack) == "limit_reached"
    assert promos.claim(env, maya, pack=pack).code == "B"
    assert (used(env, a), used(env, b)) == ((1, 1), (1, 1))


def test_customers_who_swap_two_codes_at_once_never_wait_for_each_other(env, pack):
    """Freedom from deadlock: two counters in one transaction are locked in order."""
    a, b = (promos.upsert_promo(env, c, percent_off=10) for c in "AB")
    people = [customers.ensure(env, f"u{n}") for n in range(8)]

    def swap(n):
        for turn in range(6):
            promos.apply(env, "AB"[(n + turn) % 2], people[n], pack=pack)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(swap, range(8)))
    assert used(env, a)[0] == used(env, a)[1] and used(env, b)[0] == used(env, b)[1]
    assert used(env, a)[0] + used(env, b)[0] == 8


# Definitions -----------------------------------------------------------------------------------


def test_validating_answers_and_reserves_nothing(env, maya, pack):
    """S4.17"""
    promo = promos.upsert_promo(env, "WELCOME10", percent_off=10, cap=1)
    for _ in range(3):
        found = promos.quote(env, " welcome10 ", maya, pack=pack)
        assert (found.discount_minor, found.total, found.code) == (100, USD("8.99"), "WELCOME10")
    assert used(env, promo) == (0, 0)
    promos.reserve(env, promo.uuid, maya.uuid, ids.new_owned(maya.uuid))
    assert reason(promos.quote, env, "WELCOME10", maya, pack=pack) == "limit_reached"


# S4.41!
@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"customers": ["somebody"]}, "not_eligible"),
        ({"customers": ["somebody", "maya"]}, None),
        ({"match_metadata": {"tier": "gold"}}, None),
        ({"match_metadata": {"tier": "silver"}}, "not_eligible"),
        ({"min_purchase": USD("10.00")}, "minimum_purchase"),
        ({"min_purchase": EUR("1.00")}, "wrong_currency"),
        ({"packs": ["studio"]}, "wrong_product"),
        ({"packs": ["creator"]}, None),
        ({"active": False}, "inactive"),
    ],
)
def test_each_restriction_holds_for_quote_and_apply_alike(env, pack, terms, why):
    """S4.41"""
    catalog.upsert_pack(env, "studio", name="Studio Pack", credits=900, price=USD("49.00"))
    maya = customers.ensure(env, "maya", metadata={"tier": "gold"})
    promos.upsert_promo(env, "RULED", percent_off=10, **terms)
    assert reason(promos.quote, env, "RULED", maya, pack=pack) == why
    assert reason(promos.apply, env, "RULED", maya, pack=pack) == why


def test_a_code_lives_from_its_start_to_its_end(env, clock, maya, pack):
    """S4.41"""
    start, end = env.now() + timedelta(days=1), env.now() + timedelta(days=2)
    promos.upsert_promo(env, "DAY", percent_off=10, starts_at=start, expires_at=end)
    assert reason(promos.quote, env, "DAY", maya, pack=pack) == "not_started"
    clock.set(start)
    assert reason(promos.quote, env, "DAY", maya, pack=pack) is None
    clock.set(end)
    assert reason(promos.quote, env, "DAY", maya, pack=pack) == "expired"
    assert reason(promos.quote, env, "NONE", maya, pack=pack) == "unknown"


# S4.40!
@pytest.mark.parametrize("terms", [
    {"percent_off": 9}, {"percent_off": 51}, {"percent_off": True}, {"percent_off": 10.0},
    {"amount_off": USD("4.99")}, {"amount_off": USD("50.01")}, {"bonus_credits": 0}, {},
    {"percent_off": 10, "bonus_credits": 5}, {"percent_off": 10, "cap": 0},
    {"percent_off": 10, "per_customer": -1}, {"amount_off": USD("5"), "min_purchase": EUR("9")},
])  # fmt: skip
def test_terms_outside_the_bounds_are_refused(env, terms):
    """S4.40: 10-50 percent and 5-50 dollars by the default settings."""
    with pytest.raises(InvalidRequest):
        promos.upsert_promo(env, "BOUNDS", **terms)


@pytest.mark.parametrize(
    "terms", [{"percent_off": 10}, {"percent_off": 50}, {"amount_off": USD("5")},
              {"amount_off": USD("50")}, {"bonus_credits": 25}],
)  # fmt: skip
def test_terms_at_the_bounds_are_taken(env, terms):
    """S4.40"""
    assert promos.upsert_promo(env, "EDGE", **terms).code == "EDGE"


def test_a_fixed_discount_leaves_the_least_that_can_be_charged(env, maya, pack):
    """I19: stated rule, the discount is capped."""
    promos.upsert_promo(env, "BIG", amount_off=USD("20"))
    found = promos.quote(env, "BIG", maya, pack=pack)
    assert (found.discount, found.total) == (USD("9.49"), USD("0.50"))


def test_codes_that_would_be_confused_are_refused_and_changes_keep_their_id(env):
    """I19"""
    first = promos.upsert_promo(env, "Straße", percent_off=10)
    assert promos.upsert_promo(env, "Straße", percent_off=20).id == first.id
    for other in ("STRASSE", "straße", "ＳＴＲＡＳＳＥ"):
        with pytest.raises(Conflict):
            promos.upsert_promo(env, other, percent_off=10)
        assert promos.get_promo(env, other).percent_off == 20
    assert promos.get_promo(env, first.id).id == first.id


def test_the_list_pages_newest_first(env):
    made = [promos.upsert_promo(env, f"CODE{n}", percent_off=10, active=n != 2) for n in range(5)]
    page = promos.list_promos(env, limit=2)
    rest = promos.list_promos(env, limit=9, starting_after=page[-1].id)
    assert {p.code for p in page + rest} == {p.code for p in made if p.active}
    assert len(promos.list_promos(env, include_inactive=True)) == 5
