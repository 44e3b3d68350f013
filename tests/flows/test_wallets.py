"""Wallets: money comes in, moves between customers and currencies, and is never below zero."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from purse import account, books, event_types, fill, paid, take_back, wallet

from paydesk import ids
from paydesk.errors import (
    AmountTooSmall,
    Conflict,
    GoodsUsed,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvalidRequest,
    NoRate,
    NotFound,
    TransactionLimit,
    TransferNotAllowed,
    WalletFrozen,
)
from paydesk.flows import (
    customers,
    heads,
    rates,
    wallet_history,
    wallet_moves,
    wallets,
    withdrawals,
)
from paydesk.rules.money import HTG, JPY, USD, Money


def deposit(env, customer, payment, money):
    with env.db.transaction(customer.uuid) as tx:
        now = heads.decide(tx, env.now(), customer.uuid)
        return wallets.deposit(tx, now, [(payment, money, ids.new_owned(customer.uuid))])[0]


def give_back(env, customer, payment, was):
    with env.db.transaction(customer.uuid) as tx:
        now = heads.decide(tx, env.now(), customer.uuid)
        wallets.give_back(tx, now, payment, was, cause="dispute",
                          cause_id=ids.new_owned(customer.uuid))  # fmt: skip


def history(env, customer, currency: str, **more):
    with env.db.read() as tx:
        return wallet_history.history(tx, customer.uuid, currency, **more)


def spend(env, customer, money) -> None:
    with env.db.transaction(customer.uuid) as tx:
        now = heads.decide(tx, env.now(), customer.uuid)
        wallets.take_out(tx, now, customer.uuid, money, "deposits", reason="WALLET_PAYMENT",
                         txn_id=ids.new_owned(customer.uuid), event=None)  # fmt: skip


# Coming in --------------------------------------------------------------------------------------


def test_a_wallet_is_made_when_money_first_comes_one_for_each_currency(env, make):  # S3.15 S4.43
    user = make.user()
    fill(env, user, HTG("500"), USD("20"), HTG("250"))
    with env.db.read() as tx:
        found = wallets.list_(tx, user.uuid)
        assert [(w.currency, w.balance) for w in found] == [("htg", 75_000), ("usd", 2_000)]
        assert wallets.balance(tx, user.uuid, "usd") == USD("20")
        assert wallets.balance(tx, user.uuid, "eur").minor == 0
    assert event_types(env, user).count("wallet.created") == 2


def test_a_top_up_is_deposited_once_whatever_is_repeated(env, make):  # S3.9 S3.15 I1
    user = make.user()
    fill(env, user, HTG("1"))
    payment = paid(user, HTG("100"))
    first = deposit(env, user, payment, HTG("100"))
    again = deposit(env, user, payment, HTG("100"))
    assert (first.same, again.same, again.transfer_id) == (False, True, first.transfer_id)
    assert wallet(env, user, "htg").balance == 10_100
    line = history(env, user, "htg")[0]
    assert (line.type, line.amount, line.balance_after) == ("WALLET_DEPOSIT", 10_000, 10_100)
    assert line.payment_id == payment.key[1]  # S3.16


def test_deposits_of_many_customers_are_one_set(env, make):
    users = [make.user() for _ in range(5)]
    jobs = [(paid(u, HTG("10")), HTG("10"), ids.new_owned(u.uuid)) for u in users for _ in "ab"]
    with env.db.transaction(*[u.uuid for u in users]) as tx:
        wallets.deposit(tx, env.now(), jobs)
    assert [wallet(env, u, "htg").balance for u in users] == [2_000] * 5


def test_the_history_is_signed_paged_and_filtered(env, make):  # S3.16 S3.17
    user = make.user()
    fill(env, user, HTG("10"), HTG("20"), HTG("30"))
    spend(env, user, HTG("15"))
    lines = history(env, user, "htg")
    assert [one.amount for one in lines] == [-1_500, 3_000, 2_000, 1_000]
    assert [one.balance_after for one in lines] == [4_500, 6_000, 3_000, 1_000]
    assert [o.id for o in history(env, user, "htg", limit=2, before_seq=lines[1].seq)] == [
        lines[2].id, lines[3].id]  # fmt: skip
    assert len(history(env, user, "htg", kind="WALLET_PAYMENT")) == 1
    assert history(env, user, "usd") == []


# Going back -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "owed", "forgiven"), [("debt", 600, 0), ("clamp", 0, 600)])
def test_a_top_up_taken_back_takes_what_is_there(env, make, policy, owed, forgiven):  # I3
    user = make.user()
    payment = paid(user, HTG("10"))
    fill(env, user, HTG("10"))
    spend(env, user, HTG("6"))
    done = take_back(env, user, payment, 1_000, policy)
    assert (done.taken, done.owed, done.forgiven) == (400, owed, forgiven)
    assert account(env, user, "deposits", "htg") == 600 + 1_000
    found = wallet(env, user, "htg")
    assert (found.balance, found.owed) == (0, owed)


def test_what_is_spent_blocks_where_the_policy_says_so(env, make):
    user = make.user()
    payment = paid(user, HTG("10"))
    fill(env, user, HTG("10"))
    spend(env, user, HTG("6"))
    before = books(env, user, "htg")
    with pytest.raises(GoodsUsed) as refused:
        take_back(env, user, payment, 1_000, "block")
    assert refused.value.missing == 600
    assert books(env, user, "htg") == before


def test_a_debt_is_repaid_by_the_next_deposit(env, make):
    user = make.user()
    payment = paid(user, HTG("10"))
    take_back(env, user, payment, 1_000)
    assert wallet(env, user, "htg").owed == 1_000
    fill(env, user, HTG("4"))
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").owed) == (0, 600)
    fill(env, user, HTG("10"))
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").owed) == (400, 0)


@pytest.mark.parametrize("policy", ["debt", "clamp"])
def test_what_was_taken_back_comes_again_exactly(env, make, policy):  # I9
    user = make.user()
    payment = paid(user, HTG("10"))
    fill(env, user, HTG("10"))
    spend(env, user, HTG("6"))
    before = books(env, user, "htg")
    give_back(env, user, payment, take_back(env, user, payment, 1_000, policy))
    assert books(env, user, "htg") == before


def test_a_refund_of_a_payment_from_the_wallet_comes_back_into_it_once(env, make):
    user = make.user()
    fill(env, user, HTG("10"))
    spend(env, user, HTG("6"))
    payment, key = paid(user, HTG("6")), ids.request_key("a refund")
    for _ in range(2):
        with env.db.transaction(user.uuid) as tx:
            wallets.refund_in(tx, env.now(), payment, 250, ids.new_owned(user.uuid), key)
    assert wallet(env, user, "htg").balance == 650
    assert history(env, user, "htg")[0].payment_id == payment.key[1]


# Freezing ---------------------------------------------------------------------------------------


def test_a_frozen_wallet_takes_money_that_came_and_gives_none(env, make):
    user, other = family(env, make)
    fill(env, user, HTG("10"))
    found = wallet(env, user, "htg")
    frozen = wallets.set_state(env, user.uuid, found.id, "freeze", actor="key:ann", reason="odd")
    assert frozen.state == "frozen"
    fill(env, user, HTG("5"))
    with pytest.raises(WalletFrozen):
        wallet_moves.transfer_now(env, user.uuid, other.uuid, HTG("1"))
    fill(env, other, HTG("5"))
    with pytest.raises(WalletFrozen):
        wallet_moves.transfer_now(env, other.uuid, user.uuid, HTG("1"))
    wallets.set_state(env, user.uuid, found.id, "unfreeze", actor="key:ann")
    assert wallet(env, user, "htg").balance == 1_500
    wallet_moves.transfer_now(env, user.uuid, other.uuid, HTG("1"))
    with env.db.read() as tx:
        rows = tx.all("select cause from events where type = 'wallet.frozen'")
    assert [row["cause"]["actor"] for row in rows] == ["key:ann"]


def test_only_an_empty_wallet_is_closed(env, make):
    user = make.user()
    fill(env, user, HTG("10"))
    found = wallet(env, user, "htg")
    with pytest.raises(Conflict):
        wallets.set_state(env, user.uuid, found.id, "close", actor="ann")
    spend(env, user, HTG("10"))
    assert wallets.set_state(env, user.uuid, found.id, "close", actor="ann").state == "closed"
    with pytest.raises(Conflict):
        wallets.set_state(env, user.uuid, found.id, "freeze", actor="ann")
    with pytest.raises(InvalidRequest):
        wallets.set_state(env, user.uuid, found.id, "melt", actor="ann")
    with pytest.raises(NotFound):
        wallets.set_state(env, make.user().uuid, found.id, "freeze", actor="ann")


# Between customers ------------------------------------------------------------------------------


def family(env, make):
    one, two = make.user(), make.user()
    return one, customers.update(env, two.uuid, owner=one)


def test_money_moves_between_customers_of_one_owner(env, make):  # S3.15 I2
    one, two = family(env, make)
    fill(env, one, HTG("100"))
    done = wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("40"), note="lunch")
    assert (done.balance, done.same) == (6_000, False)
    assert (wallet(env, one, "htg").balance, wallet(env, two, "htg").balance) == (6_000, 4_000)
    assert account(env, one, "transit", "htg") == 4_000
    assert account(env, two, "transit", "htg") == -4_000
    assert "wallet.transferred" in event_types(env, one) and (
        "wallet.transferred" in event_types(env, two)
    )


def test_the_same_key_moves_money_once_and_another_request_is_refused(env, make):
    one, two = family(env, make)
    fill(env, one, HTG("100"))
    key = ids.request_key("k")
    first = wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("40"), request_key=key)
    again = wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("40"), request_key=key)
    assert again == replace(first, same=True)
    with pytest.raises(IdempotencyKeyReused):
        wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("41"), request_key=key)
    assert wallet(env, two, "htg").balance == 4_000


def test_strangers_get_nothing_unless_the_policy_allows_it(env, make):
    one, two = make.user(), make.user()
    fill(env, one, HTG("100"))
    with pytest.raises(TransferNotAllowed):
        wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("40"))
    free = replace(env, settings=replace(env.settings, wallet_transfer_policy="any"))
    wallet_moves.transfer_now(free, one.uuid, two.uuid, HTG("40"))
    none = replace(env, settings=replace(env.settings, wallet_transfer_policy="none"))
    with pytest.raises(TransferNotAllowed):
        wallet_moves.transfer_now(none, one.uuid, two.uuid, HTG("40"))


def test_more_than_there_is_moves_nothing(env, make):  # I3
    one, two = family(env, make)
    fill(env, one, HTG("100"))
    with pytest.raises(InsufficientFunds) as refused:
        wallet_moves.transfer_now(env, one.uuid, two.uuid, HTG("100.01"))
    assert (refused.value.balance, refused.value.needed) == (10_000, 10_001)
    with pytest.raises(InsufficientFunds):
        wallet_moves.transfer_now(env, one.uuid, two.uuid, USD("1"))
    for wrong in (HTG("0"), HTG("-1")):
        with pytest.raises(InvalidRequest):
            wallet_moves.transfer_now(env, one.uuid, two.uuid, wrong)
    with pytest.raises(InvalidRequest):
        wallet_moves.transfer_now(env, one.uuid, one.uuid, HTG("1"))
    assert wallet(env, two, "htg") is None


def test_transfers_count_toward_the_days_limit(env, make):
    one, two = family(env, make)
    fill(env, one, HTG("100"))
    tight = replace(env, settings=replace(env.settings, max_daily_transactions=2))
    for _ in range(2):
        wallet_moves.transfer_now(tight, one.uuid, two.uuid, HTG("1"))
    with pytest.raises(TransactionLimit):
        wallet_moves.transfer_now(tight, one.uuid, two.uuid, HTG("1"))


def test_crossing_transfers_neither_wait_for_each_other_nor_lose_money(env, make):  # I3
    one, two = family(env, make)
    fill(env, one, HTG("10"))
    fill(env, two, HTG("10"))

    def move(n: int) -> bool:
        pair = (one.uuid, two.uuid) if n % 2 else (two.uuid, one.uuid)
        try:
            wallet_moves.transfer_now(env, *pair, HTG("3"))
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(move, range(32)))
    assert any(done)
    assert wallet(env, one, "htg").balance + wallet(env, two, "htg").balance == 2_000


# Statements -------------------------------------------------------------------------------------


def test_a_statement_leads_from_one_balance_to_the_other(env, make, clock):  # S3.16 S3.17
    user = make.user()
    fill(env, user, HTG("100"))
    clock.advance(days=40)
    fill(env, user, HTG("20"), USD("5"))
    asked = withdrawals.request(env, user.uuid, HTG("30"), "=bank", by="user:maya")
    clock.advance(days=1)
    withdrawals.cancel(env, user.uuid, asked.id, by="user:maya")
    found = wallet_history.statement(env, user.uuid, "HTG")
    assert (found.opening, found.came, found.went, found.closing) == (10_000, 5_000, 3_000, 12_000)
    assert [(one.type, one.balance_after) for one in found.lines] == [
        ("WALLET_DEPOSIT", 12_000), ("WALLET_WITHDRAWAL", 9_000), ("WITHDRAWAL_RELEASE", 12_000),
    ]  # fmt: skip
    assert [(one.type, one.count, one.amount) for one in found.types] == [
        ("WALLET_DEPOSIT", 1, 2_000), ("WALLET_WITHDRAWAL", 1, -3_000),
        ("WITHDRAWAL_RELEASE", 1, 3_000),
    ]  # fmt: skip
    head, first, second, *_ = found.csv().splitlines()
    assert head.startswith("id,created_at,type,amount,currency,balance_after,reference")
    assert "WALLET_DEPOSIT,20.00,htg,120.00," in first
    assert "WALLET_WITHDRAWAL,-30.00,htg,90.00,'=bank," in second
    day = (env.now() - timedelta(days=1)).date()
    short = wallet_history.statement(env, user.uuid, "htg", start=day, end=day)
    assert (short.opening, short.closing, len(short.lines)) == (10_000, 9_000, 2)
    none = wallet_history.statement(env, user.uuid, "eur", last="12mo")
    assert (none.wallet_id, none.opening, none.closing, none.lines) == (None, 0, 0, [])


# Between currencies -----------------------------------------------------------------------------


def test_a_conversion_books_both_legs_and_the_rounding(env, make):  # I14 S3.24
    user = make.user()
    rate = rates.enter(env, "usd", "htg", "131", by="ann")
    fill(env, user, HTG("2"))
    done = wallet_moves.convert_now(env, user.uuid, HTG("2"), "usd")
    assert (done.get, done.rounding, done.rate) == (USD("0.01"), HTG("0.69"), rate)
    assert books(env, user, "htg") == {"clearing": -200, "exchange": 131, "revenue": 69}
    assert books(env, user, "usd") == {"wallet": 1, "exchange": -1}
    assert event_types(env, user)[-1] == "wallet.converted"


def test_a_conversions_margin_is_kept_as_revenue_and_shown(env, make):  # I14 S3.24
    user = make.user()
    rates.enter(env, "usd", "htg", "131", by="ann")
    fill(env, user, USD("10"), HTG("200"))
    told = replace(env.settings, conversion_margin="50, usd/htg=250, htg/usd=100")
    env = replace(env, settings=told)
    done = wallet_moves.convert_now(env, user.uuid, USD("10"), "htg")
    assert (done.margin, done.margin_bps) == (USD("0.25"), 250)
    assert (done.get, done.rounding) == (HTG("1277.25"), USD(0))
    assert books(env, user, "usd") == {"clearing": -1000, "exchange": 975, "revenue": 25}
    back = wallet_moves.convert_now(env, user.uuid, HTG("200"), "usd")
    assert (back.margin, back.rounding, back.get) == (HTG(2), HTG("0.19"), USD("1.51"))
    with env.db.read() as tx:
        listed = wallet_moves.list_conversions(tx, user.uuid)
        posted = tx.all(
            "select reason, amount from transfers where customer_id = %(c)s and credit = 6"
            " and subject_id = %(id)s order by seq", {"c": user.uuid, "id": back.id},
        )  # fmt: skip
    assert posted == [
        {"reason": "CONVERSION_MARGIN", "amount": 200}, {"reason": "ROUNDING", "amount": 19},
    ]  # fmt: skip
    assert [one.margin_bps for one in listed] == [100, 250]


def test_a_quote_holds_only_while_its_margin_does(env, make):  # I14
    user = make.user()
    rates.enter(env, "usd", "htg", "131", by="ann")
    fill(env, user, USD("10"))
    quoted = wallet_moves.quote(env, USD("4"), "htg")
    env = replace(env, settings=replace(env.settings, conversion_margin="100"))
    with pytest.raises(Conflict) as refused:
        wallet_moves.convert_now(
            env, user.uuid, USD("4"), "htg", rate_id=quoted.rate.id, margin_bps=quoted.margin_bps
        )
    assert refused.value.param == "margin_bps" and wallet(env, user, "usd").balance == 1000
    fresh = wallet_moves.quote(env, USD("4"), "htg")
    done = wallet_moves.convert_now(
        env, user.uuid, USD("4"), "htg", rate_id=fresh.rate.id, margin_bps=fresh.margin_bps
    )
    assert (done.get, done.margin) == (fresh.get, USD("0.04")) == (HTG("518.76"), USD("0.04"))


def test_the_same_key_converts_once(env, make):
    user, key = make.user(), ids.request_key("k")
    rates.enter(env, "usd", "htg", "131", by="ann")
    fill(env, user, USD("10"))
    first = wallet_moves.convert_now(env, user.uuid, USD("4"), "htg", request_key=key)
    again = wallet_moves.convert_now(env, user.uuid, USD("4"), "htg", request_key=key)
    assert again == replace(first, same=True)
    with pytest.raises(IdempotencyKeyReused):
        wallet_moves.convert_now(env, user.uuid, USD("5"), "htg", request_key=key)
    assert wallet(env, user, "usd").balance == 600
    with env.db.read() as tx:
        assert wallet_moves.list_conversions(tx, user.uuid) == [first]
        with pytest.raises(NotFound):
            wallet_moves.get_conversion(tx, make.user().uuid, first.id)


def test_a_quote_holds_only_while_its_rate_is_the_pairs(env, make, clock):  # I14
    user = make.user()
    rates.enter(env, "usd", "htg", "131", by="ann")
    fill(env, user, USD("10"))
    quoted = wallet_moves.quote(env, USD("4"), "htg")
    assert quoted.get == HTG("524")
    clock.advance(minutes=1)
    rates.enter(env, "usd", "htg", "130", by="ann")
    with pytest.raises(Conflict):
        wallet_moves.convert_now(env, user.uuid, USD("4"), "htg", rate_id=quoted.rate.id)
    fresh = wallet_moves.quote(env, USD("4"), "htg")
    done = wallet_moves.convert_now(env, user.uuid, USD("4"), "htg", rate_id=fresh.rate.id)
    assert done.get == fresh.get == HTG("520")
    clock.advance(days=7)
    assert env.now() >= fresh.expires_at
    with pytest.raises(NoRate):
        wallet_moves.convert_now(env, user.uuid, USD("4"), "htg", rate_id=fresh.rate.id)


@pytest.mark.parametrize("way", ["eur htg usd", "eur usd htg"])
def test_rates_that_disagree_let_nobody_gain_by_going_around(env, make, way):  # I14 S3.24
    user, here = make.user(), "eur"
    rates.enter(env, "usd", "htg", "130.95", by="ann")
    rates.enter(env, "eur", "htg", "143.00", by="ann")
    rates.enter(env, "eur", "usd", "1.0837", by="ann", source="bank")
    fill(env, user, Money("1000", "eur"))
    for _ in range(2):
        for there in (*way.split()[1:], "eur"):
            held = Money(account(env, user, "wallet", here), here, minor=True)
            wallet_moves.convert_now(env, user.uuid, held, there)
            here = there
    assert 95_000 < account(env, user, "wallet", "eur") <= 100_000
    with env.db.read() as tx:
        assert rates.latest(tx, "usd", "htg", env.now()).rate == Decimal("130.95")


def test_a_ring_of_four_currencies_lets_nobody_gain(env, make):  # I14 S3.24
    user, ring = make.user(), ["usd", "htg", "dop", "mxn"]
    for pair, value in zip(pairwise([*ring, "usd"]), ("131", "0.46", "0.29", "0.06"), strict=True):
        rates.enter(env, *pair, value, by="ann")
    fill(env, user, USD("1000"))
    for way in (ring, ring[::-1]):
        for here, there in pairwise(["usd", *(c for c in way if c != "usd"), "usd"]):
            held = Money(account(env, user, "wallet", here), here, minor=True)
            wallet_moves.convert_now(env, user.uuid, held, there)
    assert account(env, user, "wallet", "usd") <= 100_000


def test_what_cannot_be_converted_changes_nothing(env, make):
    user = make.user()
    fill(env, user, HTG("1"))
    with pytest.raises(NoRate):
        wallet_moves.convert_now(env, user.uuid, HTG("1"), "usd")
    rates.enter(env, "usd", "htg", "131", by="ann")
    with pytest.raises(AmountTooSmall):
        wallet_moves.convert_now(env, user.uuid, HTG("1"), "usd")
    with pytest.raises(InsufficientFunds):
        wallet_moves.convert_now(env, user.uuid, HTG("5"), "usd")
    with pytest.raises(InsufficientFunds):
        wallet_moves.convert_now(env, user.uuid, JPY("5"), "usd")
    with pytest.raises(InvalidRequest):
        wallet_moves.convert_now(env, user.uuid, HTG("1"), "htg")
    assert wallet(env, user, "htg").balance == 100
