"""A provider that asks to slow down (429) is not ill; work that nobody waits for waits for it."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate

import pytest
import stripe

from paydesk import settings
from paydesk.errors import OutcomeUnknown, ProviderUnavailable
from paydesk.providers import circuit as module
from paydesk.providers.circuit import Circuit, SlowDown, patient, told_s
from paydesk.providers.stripe import Stripe


class Time:
    """A clock that stands until somebody sleeps."""

    def __init__(self) -> None:
        self.at, self.slept = 1000.0, []

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def clock(monkeypatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def circuit(clock):
    made = Circuit("teller", size=4, timeout_s=30)
    yield made
    made.close()


class Teller:
    """Refuses so many calls, then answers."""

    def __init__(self, refusals: int, told: int | None = None) -> None:
        self.left, self.told, self.calls = refusals, told, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise SlowDown("Too many requests.", self.told)
        return "answer"


def test_any_number_of_them_opens_no_circuit(circuit):
    # I40
    teller = Teller(50)
    for _ in range(50):
        with pytest.raises(ProviderUnavailable) as caught:
            circuit.call(teller)
        assert caught.value.retry_after_s == 2
    assert (circuit.state, circuit.slowed, teller.calls) == ("closed", 50, 50)
    assert circuit.call(teller) == "answer"


def test_between_failures_they_are_an_answer(circuit):
    # I40: a provider that says so is there
    def ill():
        raise OutcomeUnknown()

    for _ in range(4):
        for _ in range(module.FAILURES_TO_OPEN - 1):
            with pytest.raises(OutcomeUnknown):
                circuit.call(ill)
        with pytest.raises(SlowDown):
            circuit.call(Teller(1))
    assert circuit.state == "closed"


@pytest.mark.parametrize("told", [1, 3, 4])
def test_a_patient_call_waits_as_long_as_it_is_told(circuit, clock, told):
    teller = Teller(1, told)
    with patient(7.0):
        assert circuit.call(teller) == "answer"
    (slept,) = clock.slept
    assert told <= slept <= 1.5 * told


@pytest.mark.parametrize("told", [None, 0])
def test_untold_it_waits_longer_each_time(circuit, clock, told):
    teller = Teller(3, told)
    with patient(20.0):
        assert circuit.call(teller) == "answer"
    assert len(clock.slept) == 3
    for slept, least in zip(clock.slept, (0.5, 1.0, 2.0), strict=True):
        assert least <= slept <= 1.5 * least


def test_patience_ends(circuit, clock):
    teller = Teller(100)
    with patient(5.0), pytest.raises(SlowDown):
        circuit.call(teller)
    assert sum(clock.slept) <= 5.0
    assert teller.calls <= module.MOST_TRIES
    assert circuit.state == "closed"


def test_who_has_too_little_patience_sends_nothing_meanwhile(circuit, clock):
    with pytest.raises(SlowDown):
        circuit.call(Teller(1, told=60))
    teller = Teller(0)
    with patient(5.0), pytest.raises(SlowDown, match="nothing was sent") as caught:
        circuit.call(teller)
    assert (teller.calls, clock.slept) == (0, [])
    assert 60 <= caught.value.retry_after_s <= 62
    assert circuit.call(teller) == "answer"  # Somebody waits: it may well be served.
    clock.at += 61
    with patient(5.0):
        assert circuit.call(teller) == "answer"
    assert clock.slept == []


def test_one_callers_patience_is_not_anothers(circuit):
    heard = []

    def other():
        try:
            circuit.call(Teller(1))
        except SlowDown as exc:
            heard.append(exc)

    with patient(5.0):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(heard) == 1


@pytest.mark.parametrize(("header", "seconds"), [
    ("7", 7), (" 7 ", 7), ("100000", 600), ("", None), ("-1", None), ("1.5", None), ("٣", None),
    ("9" * 6000, 600), ("0" * 20 + "9", 9), ("0", 0),
])  # fmt: skip
def test_retry_after_is_believed_up_to_ten_minutes(header, seconds):
    assert told_s({"Content-Type": "x", "retry-AFTER": header}) == seconds
    assert told_s({}) is None


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"
NOON_S = 1_792_584_000


@pytest.mark.parametrize(("header", "seconds"), [
    ("Wed, 21 Oct 2026 12:00:30 GMT", 30),  # RFC 9110, and its two older forms
    ("Wednesday, 21-Oct-26 12:00:30 GMT", 30), ("Wed Oct 21 12:00:30 2026", 30),
    (" Wed, 21 Oct 2026 13:00:30 +0100 ", 30),
    (NOON, 0), ("Wed, 21 Oct 2026 11:59:59 GMT", 0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ("Wed, 21 Oct 2026 12:10:00 GMT", 600), ("Wed, 21 Oct 2026 12:10:01 GMT", 600),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 600), ("Fri, 31 Dec 9999 23:59:59 -2359", 600),
])  # fmt: skip
@pytest.mark.parametrize(("date", "now_s"), [
    (NOON, 1.0), (None, float(NOON_S)), ("yesterday", NOON_S - 0.0),
])  # fmt: skip
def test_retry_after_may_be_a_moment(header, seconds, date, now_s):
    # I40: by the provider's own clock, where its answer tells the time
    answer = {"Retry-After": header} | ({"date": date} if date else {})
    assert told_s(answer, now_s) == seconds


@pytest.mark.parametrize("header", [
    "Wed, 32 Oct 2026 12:00:30 GMT", "Wed, 21 Okt 2026 12:00:30 GMT", "tomorrow", "GMT", ",,,",
    "Wed, 21 Oct 2026 25:00:30 GMT", "Wed, 21 Oct 99999999999999 12:00:30 GMT", "0, 0", "\x00",
    "Wed, 21 Oct 2026 12:00:30 +99999999999", "Wed, 21 Oct 2026 12:00:30 GMT" + " " * 9000 + "x",
    "Wed, 21 Oct 2026 12:00:\u0663\u0660 GMT", "Wed, 0 Oct 0 0:0:0 GMT", "1;2", "-" * 60,
])  # fmt: skip
def test_a_moment_that_is_none_is_as_if_nothing_was_said(header):
    # I31 I40
    assert told_s({"Retry-After": header, "Date": NOON}) is None


def test_an_answer_without_a_date_is_reckoned_by_the_real_time():
    soon = formatdate(time.time() + 300, usegmt=True)
    assert 0 < (told_s({"Retry-After": soon}) or 0) <= 300
    long_ago = formatdate(time.time() - 300, usegmt=True)
    assert told_s({"Retry-After": long_ago}) == 0


@pytest.mark.parametrize("error", [
    stripe.RateLimitError("slow", http_status=429, headers={"Retry-After": "9"}),
    stripe.InvalidRequestError("slow", "x", http_status=429, headers={"Retry-After": "9"}),
    stripe.RateLimitError("slow", http_status=429, headers={
        "Retry-After": "Wed, 21 Oct 2026 12:00:09 GMT", "Date": NOON}),
])  # fmt: skip
def test_what_stripe_says_is_kept(error):
    def send():
        raise error

    with pytest.raises(SlowDown) as caught:
        Stripe(settings.Settings())._ask(send)
    assert (caught.value.told_s, caught.value.retry_after_s) == (9, 9)
