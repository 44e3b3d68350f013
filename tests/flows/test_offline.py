"""Cash, transfers and agents: a person or a statement says that money came, each word once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk import crash, ids, providers
from paydesk.errors import Conflict, InvalidRequest, NotSupported
from paydesk.flows import checkout, credits, direct, events, offline, statements
from paydesk.flows.checkout import StartCheckout
from paydesk.providers.offline import check_letter, reference_of
from paydesk.rules.money import HTG, USD


@pytest.fixture
def who(make):
    make.pack(key="small", credits=50, price=USD("9.00"))
    return make.user("user_1")


def order(env, who, **more):
    return checkout.start(
        env, StartCheckout(customer_id=who.uuid, provider="manual", pack="small", **more)
    )


def balance(env, who) -> int:
    with env.db.read() as tx:
        return credits.balance_total(tx, who.uuid, env.now())


def statement(*rows: str) -> bytes:
    return "\n".join(["Date;Amount;Currency;Description;Id", *rows]).encode()


def test_an_order_waits_for_days_and_shows_instructions_with_its_reference(env, who):
    # S3.19
    view = order(env, who)
    assert view.payment.session_ref == reference_of(ids.show("payment", view.payment.id))
    assert "/instructions?s=" in view.url
    assert view.expires_at - view.created_at == timedelta(days=7)


def test_a_person_confirms_once_and_the_goods_are_handed_over_once(env, who):
    # S3.19 I1
    view = order(env, who)
    for _ in range(2):
        done = offline.confirm(
            env, who.uuid, view.payment.id, by="rosa", reference="R-1", method="cash"
        )
    assert (done.state, done.method, balance(env, who)) == ("succeeded", "cash", 50)
    with env.db.read() as tx:
        paid = next(e for e in events.follow(tx, who.uuid, 0) if e.type == "payment.succeeded")
    assert paid.cause["actor"] == "rosa"


def test_many_parallel_confirmations_are_one(env, who):
    # S3.19 I1
    view = order(env, who)
    threads = [
        threading.Thread(
            target=offline.confirm, args=(env, who.uuid, view.payment.id), kwargs={"by": f"p{n}"}
        )
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = checkout.get(env, who.uuid, view.id).payment
    assert (found.captured, balance(env, who)) == (USD("9.00"), 50)


def test_a_receipt_stands_for_one_payment_only(env, who):
    # S3.19
    first, second = order(env, who), order(env, who)
    offline.confirm(env, who.uuid, first.payment.id, by="rosa", reference="R-1")
    with pytest.raises(Conflict):
        offline.confirm(env, who.uuid, second.payment.id, by="rosa", reference="R-1")
    assert checkout.get(env, who.uuid, second.id).status == "open"


def test_too_little_is_recorded_and_the_rest_completes_it(env, who):
    # S3.19
    view = order(env, who)
    part = offline.confirm(
        env, who.uuid, view.payment.id, by="rosa", amount=USD("4.00"), reference="R-1"
    )
    assert (part.review, part.captured, balance(env, who)) == ("underpaid", USD("4.00"), 0)
    rest = offline.confirm(
        env, who.uuid, view.payment.id, by="rosa", amount=USD("5.00"), reference="R-2"
    )
    assert (rest.review, rest.captured, balance(env, who)) == (None, USD("9.00"), 50)


def test_a_line_with_the_exact_rest_completes_what_a_line_began(env, who):
    # S3.19
    view = order(env, who)
    ref = view.payment.session_ref

    def came(row: str) -> tuple[int, int]:
        done = offline.import_statement(env, "manual", statement(row), by="rosa")
        return done.matched, done.unmatched

    assert came(f"2026-11-20;4.00;USD;{ref};B1") == (1, 0)
    assert came(f"2026-11-20;4.00;USD;{ref};B2") == (0, 1)
    assert balance(env, who) == 0
    (waits,) = offline.lines(env, state="unmatched")
    assert waits.problem == "A part was paid before, and this is not the rest: USD 5.00."
    assert came(f"2026-11-21;5.00;USD;{ref};B3") == (1, 0)
    assert balance(env, who) == 50
    assert came(f"2026-11-21;5.00;USD;{ref};B4") == (0, 1)


def test_a_receipt_is_told_with_one_amount_and_a_part_with_a_receipt(env, who):
    # S3.19
    view = order(env, who)
    with pytest.raises(InvalidRequest):
        offline.confirm(env, who.uuid, view.payment.id, by="rosa", amount=USD("4.00"))
    told = {"by": "rosa", "reference": "R-1"}
    offline.confirm(env, who.uuid, view.payment.id, amount=USD("4.00"), **told)
    offline.confirm(env, who.uuid, view.payment.id, amount=USD("4.00"), **told)
    with pytest.raises(Conflict, match=r"4\.00"):
        offline.confirm(env, who.uuid, view.payment.id, amount=USD("5.00"), **told)
    assert checkout.get(env, who.uuid, view.id).payment.captured == USD("4.00")


def test_a_card_payment_cannot_be_confirmed_by_hand(env, who, sim):
    # C7
    view = checkout.start(env, StartCheckout(customer_id=who.uuid, pack="small"))
    with pytest.raises(NotSupported):
        offline.confirm(env, who.uuid, view.payment.id, by="rosa")
    assert balance(env, who) == 0


def test_a_statement_pays_the_orders_whose_references_stand_in_it_once(env, who):
    # S3.19
    first, second = order(env, who), order(env, who)
    ref = first.payment.session_ref
    content = statement(
        f"2026-11-20;9.00;USD;Transfer {ref.lower().replace('-', ' ')} thanks;B1",
        f"2026-11-20;9,00;USD;{second.payment.session_ref};B2",
        "2026-11-20;12.00;USD;Rent;B3",
        "2026-11-20;-5.00;USD;Bank fee;B4",
    )
    done = offline.import_statement(env, "manual", content, by="rosa", name="november.csv")
    assert (done.lines, done.matched, done.unmatched) == (3, 2, 1)
    again = offline.import_statement(env, "manual", content, by="rosa")
    assert (again.known, again.matched, again.unmatched, again.waiting) == (3, 0, 0, 0)
    assert balance(env, who) == 100
    assert checkout.get(env, who.uuid, first.id).payment.method == "bank_transfer"
    (left,) = offline.lines(env, state="unmatched")
    assert (left.line_ref, left.problem) == ("B3", "No reference of a payment stands in it.")


def test_a_person_matches_or_sets_aside_what_bears_no_reference(env, who):
    # S3.19
    view = order(env, who)
    content = statement("2026-11-20;9.00;USD;Maya Lind;B1", "2026-11-20;1.00;USD;Interest;B2")
    offline.import_statement(env, "manual", content, by="rosa")
    payment = ids.show("payment", view.payment.id)
    matched = offline.match(env, "manual", "B1", payment, by="rosa")
    assert (matched.state, matched.decided_by, balance(env, who)) == ("matched", "rosa", 50)
    assert offline.match(env, "manual", "B1", payment, by="rosa") == matched
    with pytest.raises(Conflict):
        offline.match(env, "manual", "B2", payment, by="rosa")
    assert offline.ignore(env, "manual", "B2", "Interest.", by="rosa").state == "ignored"
    assert offline.lines(env, state="unmatched") == []


def test_money_that_comes_twice_for_one_order_waits_for_a_person(env, who):
    # S3.19 I1
    ref = order(env, who).payment.session_ref
    offline.import_statement(env, "manual", statement(f"2026-11-20;9.00;USD;{ref};B1"), by="rosa")
    content = statement(f"2026-11-21;9.00;USD;{ref};B2")
    assert offline.import_statement(env, "manual", content, by="rosa").unmatched == 1
    assert balance(env, who) == 50


def test_late_money_completes_an_expired_order(env, who, clock):
    # I10
    view = order(env, who)
    clock.advance(days=8)
    checkout.expire_due(env)
    assert checkout.get(env, who.uuid, view.id).status == "expired"
    ref = view.payment.session_ref
    offline.import_statement(env, "manual", statement(f"2026-11-30;9.00;USD;{ref};B9"), by="rosa")
    assert (checkout.get(env, who.uuid, view.id).status, balance(env, who)) == ("complete", 50)


def test_a_paid_order_takes_no_second_confirmation(env, who):
    # S3.19 I1
    view = order(env, who)
    offline.confirm(env, who.uuid, view.payment.id, by="rosa", reference="R-1")
    for reference in ("R 1", None):
        with pytest.raises(Conflict):
            offline.confirm(env, who.uuid, view.payment.id, by="bo", reference=reference)
    found = checkout.get(env, who.uuid, view.id).payment
    assert (found.captured, balance(env, who)) == (USD("9.00"), 50)
    more = offline.confirm(
        env, who.uuid, view.payment.id, by="bo", reference="R-2", amount=USD("1.00")
    )
    assert (more.captured, more.review) == (USD("10.00"), "overpaid")


def test_what_a_payer_says_pays_nothing_by_itself(env, who, make):
    # S3.19 I35
    thief = make.user("thief")
    theirs, mine = order(env, thief), order(env, who)
    offline.submit_reference(env, thief.uuid, theirs.payment.id, "Transfer")
    for word in ("Maya", "B1"):
        with pytest.raises(Conflict):
            offline.submit_reference(env, thief.uuid, theirs.payment.id, word)
    content = statement(
        "2026-11-20;9.00;USD;Transfer from Maya Lind;B1",
        f"2026-11-20;9.00;USD;Transfer Maya {mine.payment.session_ref};B2",
    )
    done = offline.import_statement(env, "manual", content, by="rosa")
    assert (done.matched, balance(env, thief), balance(env, who)) == (1, 0, 50)
    honest = order(env, who)
    offline.confirm(env, who.uuid, honest.payment.id, by="rosa", reference="Transfer")
    assert balance(env, who) == 100


def test_one_line_pays_one_payment_whoever_matches_it(env, make, who):
    # S3.19 I1
    other = make.user("user_2")
    orders = [(who, order(env, who)), (other, order(env, other))]
    offline.import_statement(env, "manual", statement("2026-11-20;9.00;USD;x;B1"), by="rosa")
    refused: list[Exception] = []

    def match(view: Any) -> None:
        try:
            offline.match(env, "manual", "B1", ids.show("payment", view.payment.id), by="p")
        except Conflict as exc:
            refused.append(exc)

    threads = [threading.Thread(target=match, args=(view,)) for _, view in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert sorted(balance(env, one) for one, _ in orders) == [0, 50]


def test_a_death_between_line_and_money_leaves_neither(env, who):
    # S3.19 I5
    ref = order(env, who).payment.session_ref
    content = statement(f"2026-11-20;9.00;USD;{ref};B1", f"2026-11-20;9.00;USD;{ref}x;B2")
    crash.arm("statement_line_taken")
    with pytest.raises(crash.CrashNow):
        offline.import_statement(env, "manual", content, by="rosa")
    (first, _) = sorted(offline.lines(env), key=lambda one: one.line_ref)
    assert (first.state, first.problem, balance(env, who)) == ("unmatched", None, 0)
    assert offline.import_statement(env, "manual", content, by="rosa").known == 2
    assert (offline.lines(env, state="matched")[0].line_ref, balance(env, who)) == ("B1", 50)


def test_a_long_statement_is_matched_by_the_sweep(env, who, monkeypatch):
    # S3.19
    monkeypatch.setattr(offline, "AT_ONCE", 1)
    monkeypatch.setattr(offline, "match_waiting", lambda env: 0)
    refs = [order(env, who).payment.session_ref for _ in range(2)]
    content = statement(*(f"2026-11-20;9.00;USD;{ref};B{n}" for n, ref in enumerate(refs)))
    done = offline.import_statement(env, "manual", content, by="rosa")
    assert (done.matched, done.waiting) == (1, 1)
    monkeypatch.undo()
    assert offline.match_waiting(env) == 1
    assert balance(env, who) == 100


def test_a_number_that_the_payer_gives_helps_who_matches_and_pays_nothing(env, make):
    # S3.19
    who = make.user("user_1")
    settings = replace(env.settings, natcash_number="3700-0000", max_transaction_amount=10**6)
    desk = replace(env, settings=settings, providers=providers.load(settings))
    view = checkout.start(
        desk, StartCheckout(customer_id=who.uuid, provider="natcash", amount=HTG("500.00"))
    )
    offline.submit_reference(desk, who.uuid, view.payment.id, "NC-20451877")
    offline.submit_reference(desk, who.uuid, view.payment.id, "NC-20451877")
    with pytest.raises(Conflict):
        offline.submit_reference(desk, who.uuid, view.payment.id, "NC-1")
    content = statement("20/11/2026;500.00;HTG;NC-20451877;N1")
    assert offline.import_statement(desk, "natcash", content, by="rosa").matched == 0
    (line,) = offline.lines(desk)
    shown = ids.show("payment", view.payment.id)
    assert shown in line.problem
    offline.match(desk, "natcash", "N1", shown, by="rosa")
    found = checkout.get(desk, who.uuid, view.id).payment
    assert (found.state, found.method) == ("succeeded", "natcash")
    other = checkout.start(
        desk, StartCheckout(customer_id=who.uuid, provider="natcash", amount=HTG("70.00"))
    )
    ref = other.payment.session_ref
    named = statement(f"21/11/2026;70.00;HTG;{ref};N2")
    assert offline.import_statement(desk, "natcash", named, by="rosa").matched == 1
    assert "natcash" not in env.providers
    with pytest.raises(InvalidRequest):
        checkout.start(
            desk, StartCheckout(customer_id=who.uuid, provider="natcash", amount=USD("5.00"))
        )


def test_a_record_of_cash_is_made_and_confirmed_like_any_other(env, make):
    # S3.1 S3.9 C7
    who = make.user("user_1")
    made = direct.create(
        env, direct.NewPayment(customer_id=who.uuid, amount=USD("20.00"), method="cash")
    )
    assert made.state == "pending"
    done = direct.confirm(env, who.uuid, made.id, by="rosa")
    assert (done.state, done.captured) == ("succeeded", USD("20.00"))


# Statements ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minor"),
    [("9.00", 900), ("9,00", 900), ("1'234.50", 123450), ("1,234.50", 123450),
     ("1.234,50", 123450), ("+7", 700), ("1 000.00", 100000)],
)  # fmt: skip
def test_amounts_are_read_as_banks_write_them(text, minor):
    content = f"date,amount,currency\n2026-01-31,\"{text}\",USD\n".encode()
    assert [one.amount_minor for one in statements.read(content)] == [minor]


@pytest.mark.parametrize(
    "content",
    [b"date,amount,currency\n2026-01-31,9.001,USD", b"date,amount,currency\n31-31-31,9.00,USD",
     b"date,amount,currency\n2026-01-31,\"1,234\",USD", b"date,amount,currency\n2026-01-31,1,ZZZ",
     b"amount\n1", b"", b"\xff\xfe", b"<a", b"date,amount\n2026-01-31,1",
     b'<!DOCTYPE a [<!ENTITY b "c">]><Document/>', b"date,amount,currency\n2026-01-31,1e3,USD"],
)  # fmt: skip
def test_a_statement_with_an_odd_line_is_refused_whole(content):
    # I11
    with pytest.raises(InvalidRequest):
        statements.read(content)


def test_equal_lines_without_ids_stay_two(env, who):
    row = "2026-11-20;9.00;USD;same;"
    assert len({one.ref for one in statements.read(statement(row, row))}) == 2
    assert offline.import_statement(env, "manual", statement(row, row), by="r").lines == 2
    assert offline.import_statement(env, "manual", statement(row, row), by="r").known == 2


ENTRY = (
    "<Ntry><Amt Ccy='EUR'>{0}</Amt><CdtDbtInd>{1}</CdtDbtInd>{4}<BookgDt><Dt>2026-11-20</Dt>"
    "</BookgDt><AcctSvcrRef>{2}</AcctSvcrRef><NtryDtls>{3}</NtryDtls></Ntry>"
)
DETAIL = (
    "<TxDtls>{1}<RltdPties><Dbtr><Nm>M. Lind</Nm></Dbtr></RltdPties><RmtInf><Ustrd>{0}</Ustrd>"
    "</RmtInf></TxDtls>"
)


MT940 = """:20:STARTUMS
:25:12345678/0001
:28C:1/1
:60F:C261119USD0,
:61:2611201120C9,99NTRFNONREF//BANK-1
/CTRY/HT
:86:166?00CREDIT?20SVWZ+PD-K7QM-?212RXT-9DWF Creator?32ROSA?33 LOUIS
:61:261120D5,NTRFNONREF//BANK-2
:86:out
:61:261121RC7,5NTRFNONREF//BANK-3
:61:261121CR12,5NMSCORDER 77
:86:PD K7QM 2RXT
9DWF
:62F:C261121USD17,49
-
:20:SECOND
:60F:C261121HTG0,
:61:261122C100,00NTRFNONREF
:62F:C261122HTG100,00
-}
"""


def test_mt940_credits_are_read_with_what_was_said_and_by_whom():
    # S3.19
    found = statements.read(MT940.encode())
    assert [(one.amount_minor, one.currency, one.booked_at.day) for one in found] == [
        (999, "usd", 20), (1250, "usd", 21), (10000, "htg", 22)]  # fmt: skip
    assert (found[0].ref, found[0].payer) == ("BANK-1", "ROSA LOUIS")
    assert found[0].reference == "/CTRY/HT SVWZ+PD-K7QM-2RXT-9DWF Creator"
    assert found[1].reference == "ORDER 77 PD K7QM 2RXT9DWF"
    assert found[1].ref.startswith("line-")
    with pytest.raises(InvalidRequest, match="Line 5"):
        statements.read(MT940.replace("C9,99", "X9,99").encode())


def camt(*entries: str) -> list[statements.Line]:
    text = "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.08'><Stmt>"
    return statements.read(f"{text}{''.join(entries)}</Stmt></Document>".encode())


def entry(amount: str, way: str, ref: str, *details: str, status: str = "") -> str:
    return ENTRY.format(amount, way, ref, "".join(details), status)


def test_camt_053_credits_are_read_and_debits_left_out():
    (line,) = camt(
        entry("12.50", "CRDT", "A1", DETAIL.format("PD-AAAA-BBBB-CCCC", "")),
        entry("3.00", "DBIT", "A2", DETAIL.format("fee", "")),
        entry("0.00", "CRDT", "A3", DETAIL.format("nothing", "")),
    )
    assert (line.ref, line.amount_minor, line.currency) == ("A1", 1250, "eur")
    assert (line.payer, line.reference) == ("M. Lind", "PD-AAAA-BBBB-CCCC")


def test_camt_053_every_payment_of_a_batch_is_a_line_of_its_own():
    part = "<Amt Ccy='EUR'>{0}</Amt>"
    found = camt(
        entry("30.00", "CRDT", "B1", DETAIL.format("one", part.format("10.00")),
              DETAIL.format("two", part.format("20.00")))
    )  # fmt: skip
    assert [(one.ref, one.amount_minor, one.reference) for one in found] == [
        ("B1/1", 1000, "one"), ("B1/2", 2000, "two"),
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["PDNG", "<Cd>PDNG</Cd>", "INFO"])
def test_camt_053_announced_money_is_no_money(status):
    announced = entry("9.00", "CRDT", "A1", DETAIL.format("x", ""), status=f"<Sts>{status}</Sts>")
    booked = entry("9.00", "CRDT", "A2", DETAIL.format("y", ""), status="<Sts><Cd>BOOK</Cd></Sts>")
    assert [one.ref for one in camt(announced, booked)] == ["A2"]


@pytest.mark.parametrize(
    "rows",
    [("2026-11-20;9.00;USD;one;B1", "2026-11-20;8.00;USD;two;B1"),
     ("0001-01-01T00:00:00+14:00;9.00;USD;x;B1",), ("2026-11-20;9.00;USD;" + "x" * 140_000 + ";B",),
     ("2026-11-20;999999999999999.0000;CLF;x;B1",)],
)  # fmt: skip
def test_lines_that_would_be_lost_or_cannot_be_kept_are_refused(rows):
    with pytest.raises(InvalidRequest):
        statements.read(statement(*rows))


@given(st.uuids(), st.integers(0, 10), st.integers(0, 10))
def test_a_reference_finds_a_wrong_letter_and_two_that_changed_places(value, i, j):
    letters = list(reference_of(str(value))[3:].replace("-", ""))
    assert check_letter(letters[:-1]) == letters[-1]
    wrong = list(letters)
    wrong[i], wrong[j] = wrong[j], wrong[i]
    if wrong != letters:
        assert check_letter(wrong[:-1]) != wrong[-1]
