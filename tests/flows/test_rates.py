"""Rates in the database: entered, imported, found, too old; what a payment is worth in dollars."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from paydesk.errors import AmountTooLarge, Conflict, InvalidRequest, NoRate
from paydesk.flows import checkout, holds, rates, trail, wallet_moves, withdrawals
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.money import EUR, HTG, JPY, USD, Money


def latest(env, base: str, quote: str):
    with env.db.read() as tx:
        return rates.latest(tx, base, quote, env.now())


def usd_of(env, money):
    with env.db.transaction() as tx:
        return rates.usd_of(tx, money, env.now())


def csv_of(day: date, **values: str) -> bytes:
    names = ",".join(name.upper() for name in values)
    return f"Date,{names}\n{day.isoformat()},{','.join(values.values())}\n".encode()


def zipped(*parts: str) -> bytes:
    """An archive of name, text, name, text."""
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            archive.writestr(name, text)
    return file.getvalue()


def test_a_rate_entered_by_hand_serves_the_pair_both_ways(env):  # S3.24
    made = rates.enter(env, "usd", "htg", "130.95", by="key:ann")
    assert latest(env, "usd", "htg") == latest(env, "htg", "usd") == made
    assert (made.rate, made.entered_by, made.source) == (Decimal("130.95"), "key:ann", "manual")


def test_the_newest_rate_is_used_and_an_old_one_is_refused(env, clock):
    rates.enter(env, "usd", "htg", "130", by=None)
    clock.advance(days=1)
    rates.enter(env, "usd", "htg", "131", by=None)
    assert latest(env, "usd", "htg").rate == 131
    clock.advance(days=7)
    with pytest.raises(NoRate) as refused:
        latest(env, "usd", "htg")
    assert (refused.value.base, refused.value.quote) == ("usd", "htg")


def test_entering_the_same_rate_again_changes_nothing_and_another_conflicts(env):
    first = rates.enter(env, "usd", "htg", "130", by="ann")
    assert rates.enter(env, "usd", "htg", "130.0", by="ann") == first
    with pytest.raises(Conflict):
        rates.enter(env, "usd", "htg", "131", by="ann")


@pytest.mark.parametrize("told", [
    ("usd", "usd", "1", {}), ("usd", "abc", "1", {}), ("usd", "htg", "0", {}),
    ("usd", "htg", "1", {"source": "cross eur"}),
])  # fmt: skip
def test_rates_that_make_no_sense_are_refused(env, told):
    with pytest.raises(InvalidRequest):
        rates.enter(env, *told[:3], by=None, **told[3])


def test_no_rate_holds_from_a_later_instant(env):
    with pytest.raises(InvalidRequest):
        rates.enter(env, "usd", "htg", "130", by=None, at=env.now() + timedelta(seconds=1))


def test_a_file_of_reference_rates_is_imported_once(env):  # S3.24
    today = env.now().date()
    data = csv_of(today, USD="1.10", JPY="165")
    first = rates.import_ecb(env, data, by="ann")
    assert (first.rates, first.new, first.days, first.last) == (2, 2, 1, today)
    assert rates.import_ecb(env, data).new == 0
    assert latest(env, "usd", "eur").rate == Decimal("1.10")


def test_an_archive_of_the_whole_history_is_imported_step_by_step(env):  # S3.24
    today = env.now().date()
    days = [today - timedelta(days=n) for n in range(700)]
    codes = "USD,JPY,GBP,CHF,CAD,AUD,SEK,NOK,DKK,PLN"
    lines = [f"Date,{codes},", *(f"{day},{','.join(['1.25'] * 10)}," for day in days)]
    told: list[tuple[int, int]] = []
    data = zipped("eurofxref-hist.csv", "\n".join(lines))
    done = rates.import_ecb(env, data, progress=lambda *step: told.append(step))
    assert (done.rates, done.new, done.days, done.first) == (7_000, 7_000, 700, days[-1])
    assert told == [(5_000, 7_000), (7_000, 7_000)]
    assert rates.import_ecb(env, data, since=days[1]).new == 0


def test_an_archive_that_is_none_is_refused(env):
    whole = zipped("a.csv", "Date,USD\n2020-01-02,1.1\n")
    for data in (whole[:60], b"PK\x03\x04", zipped("a.csv", "x", "b.csv", "y"),
                 zipped("a.csv", "Date,USD\n2020-01-02,zero\n")):  # fmt: skip
        with pytest.raises(InvalidRequest):
            rates.import_ecb(env, data)


def test_a_file_with_a_fault_stores_nothing(env):
    today = env.now().date()
    for data in (csv_of(today, USD="1.10", JPY="x"),
                 csv_of(today + timedelta(days=2), USD="1.10", JPY="165")):  # fmt: skip
        with pytest.raises(InvalidRequest):
            rates.import_ecb(env, data)
    with env.db.read() as tx:
        assert rates.list_(tx) == []


def test_a_cross_rate_is_derived_stored_once_and_as_old_as_its_older_part(env, clock):  # I14
    rates.import_ecb(env, csv_of(env.now().date(), USD="1.10", JPY="165"))
    rates.enter(env, "eur", "htg", "143", by="ann")
    one = latest(env, "usd", "htg")
    assert (one.base, one.quote, one.rate) == ("usd", "htg", Decimal("130"))
    assert one.source.startswith("cross eur ")
    assert latest(env, "htg", "usd") == one
    assert one.at.date() == env.now().date() and one.at.hour == 0
    rates.enter(env, "usd", "htg", "131", by="ann")
    assert latest(env, "htg", "usd").rate == 131


def test_a_pair_is_reached_through_several_currencies(env):  # S3.24 I14
    rates.import_ecb(env, csv_of(env.now().date(), USD="1.10", JPY="165"))
    rates.enter(env, "usd", "htg", "130", by="ann")
    one = latest(env, "jpy", "htg")
    assert (one.base, one.quote, one.rate) == ("htg", "jpy", Decimal("1.153846153846"))
    assert one.source.startswith("cross 3 ") and latest(env, "htg", "jpy") == one
    with env.db.read() as tx:
        assert rates.worth(tx, JPY("1000"), "htg", env.now()) == 86_667
    assert latest(env, "eur", "htg").source.startswith("cross usd ")


def test_a_payment_is_worth_dollars_of_its_day(env):  # C24
    assert usd_of(env, USD("9.99")) == (999, None)
    assert usd_of(env, HTG("100")) is None
    made = rates.enter(env, "usd", "htg", "130", by=None)
    assert usd_of(env, HTG("100")) == (77, made.id)
    rates.import_ecb(env, csv_of(env.now().date(), USD="1.10", JPY="165"))
    worth, rate_id = usd_of(env, JPY("1500"))
    assert worth == 1000 and rate_id is not None
    assert usd_of(env, EUR("10"))[0] == 1100


def test_rates_are_listed_page_by_page(env, clock):
    for n in range(5):
        clock.advance(minutes=1)
        rates.enter(env, "usd", "htg", str(130 + n), by=None)
    with env.db.read() as tx:
        first = rates.list_(tx, limit=3)
        rest = rates.list_(tx, limit=3, after=first[-1].id)
        assert [int(one.rate) for one in [*first, *rest]] == [134, 133, 132, 131, 130]
        assert rates.list_(tx, base="eur") == []


def test_what_would_be_too_large_is_worth_nothing_known(env):
    rates.enter(env, "usd", "kwd", "0.000000001", by="ann")
    rates.enter(env, "kwd", "jpy", "0.000000001", by="ann")
    assert usd_of(env, Money(10**11, "kwd", minor=True)) is None
    with pytest.raises(NoRate), env.db.transaction() as tx:
        rates.to_convert(tx, "usd", "jpy", env.now())


def test_the_limit_of_one_transaction_holds_in_every_currency_that_has_a_rate(env, make):
    # S4.23 S3.24
    one, two = make.user("user_1").uuid, make.user("user_2").uuid

    def top_up(money):
        return checkout.start(env, StartCheckout(customer_id=one, wallet=money, provider="manual"))

    assert top_up(HTG("999999.00")).payment.amount == HTG("999999.00")  # Nobody knows its worth.
    rates.enter(env, "usd", "htg", "130", by="ann")
    assert top_up(HTG("650000.00")).payment.amount == HTG("650000.00")
    above = HTG("650001.00")
    for attempt in (
        lambda: top_up(above),
        lambda: holds.hold_now(env, one, above.minor, "htg"),
        lambda: wallet_moves.transfer_now(env, one, two, above),
        lambda: wallet_moves.convert_now(env, one, above, "usd"),
        lambda: withdrawals.request(env, one, above, destination="Bank 1", by="user_1"),
    ):
        with pytest.raises(AmountTooLarge):
            attempt()


def test_whoever_sets_a_rate_stands_in_the_log_once(env):
    # I46 S3.24
    for _ in range(2):
        rates.enter(env, "usd", "htg", "130.95", by="staff:ann@example.com", at=env.now())
    file = csv_of(env.now().date(), usd="1.25", htg="160")
    for _ in range(2):
        rates.import_ecb(env, file, by="key:nightly")
    imported, entered = trail.log(env)
    assert (entered.action, entered.actor, entered.subject) == (
        "rate.entered", "staff:ann@example.com", "usd/htg")  # fmt: skip
    assert entered.data["rate"] == "130.95"
    assert (imported.action, imported.actor, imported.data["stored"]) == (
        "rates.imported", "key:nightly", 2)  # fmt: skip
    assert trail.verify(env).ok
