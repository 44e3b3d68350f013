"""Months of virtual time with cards that fail on given days, against a model that counts days."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from purchase import PROVE

from paydesk.flows import renewals
from paydesk.rules.money import USD

PERIOD = 30
#: Cards of the simulator, what the bank says of them, and whether the same card may be tried again.
CARDS = {
    "visa_chargeDeclinedInsufficientFunds": ("insufficient_funds", True),
    "visa_chargeDeclined": ("generic_decline", True),
    "chargeDeclinedProcessingError": ("processing_error", True),
    "chargeDeclinedExpiredCard": ("expired_card", False),
    "visa_chargeDeclinedStolenCard": ("stolen_card", False),
    "visa_chargeDeclinedLostCard": ("lost_card", False),
}


@dataclass
class Life:
    """What happens to a customer: how the card answers on each day that it does not pay, the days
    on which he brings a new one, and the plan's schedule."""

    fails: dict[int, str]
    cards: set[int]
    days: tuple[int, ...]
    final: str
    length: int


@dataclass
class Model:
    """The same life, counted in whole days. `tries`: (day, what the bank said, None for paid);
    `states`: the subscription's at the end of each day."""

    life: Life
    tries: list[tuple[int, str | None]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    paid: list[int] = field(default_factory=list)
    state: str = "active"
    ends: int = 0
    failures: list[int] = field(default_factory=list)
    owed: bool = False
    next: int | None = None
    is_last: bool = False

    def run(self) -> Model:
        for day in range(self.life.length + 1):
            if day in self.life.cards and self.owed and self.state in ("past_due", "unpaid"):
                # A new card is charged at once, whatever the old one's code was.
                self.next, self.is_last = day, False
            if self.state in ("active", "past_due") and day == self.ends:
                self.ends, self.owed, self.failures = day + PERIOD, self.state != "free", []
                self.charge(day)
            elif self.next == day and self.is_last:
                self.give_up()
            elif self.next == day:
                self.charge(day)
            self.states.append("active" if self.state == "free" else self.state)
        return self

    def charge(self, day: int) -> None:
        code, may_repeat = CARDS.get(self.life.fails.get(day, ""), (None, True))
        self.tries.append((day, code))
        if code is None:
            if self.state == "unpaid":
                self.ends = day + PERIOD
            self.state, self.owed, self.next = "active", False, None
            self.paid.append(day)
            return
        self.failures.append(day)
        count, first = len(self.failures), self.failures[0]
        if count > len(self.life.days):
            self.give_up()
            return
        self.is_last = not may_repeat
        if may_repeat:
            before = self.life.days[count - 2] if count > 1 else 0
            wanted = self.life.days[count - 1]
            self.next = max(first + wanted, day + wanted - before)
        else:
            self.next = max(day, first + self.life.days[-1])
        if self.state == "active":
            self.state = "past_due"
        if self.is_last and self.next == day:
            self.give_up()

    def give_up(self) -> None:
        self.next = None
        if self.life.final == "unpaid":
            self.state = "unpaid"
        else:
            self.state, self.owed = {"cancel": "canceled", "downgrade": "free"}[self.life.final], 0


def drawn(dice: random.Random, length: int) -> Life:
    """A card that is bad for some stretches, most of them around the ends of periods."""
    fails: dict[int, str] = {}
    cards: set[int] = set()
    for period in range(1, length // PERIOD + 1):
        day = period * PERIOD
        if dice.random() < 0.6:
            card = dice.choice(sorted(CARDS))
            for one in range(day, day + dice.choice([1, 2, 4, 6, 12])):
                fails[one] = dice.choice([card, card, dice.choice(sorted(CARDS))])
            if dice.random() < 0.6:
                cards.add(day + dice.randint(1, 14))
    days = dice.choice([(1, 3, 5, 7), (1, 3, 5, 7), (2,), (1, 2, 10), (3, 4, 5, 6, 7, 8), ()])
    final = dice.choice(["cancel", "unpaid", "unpaid", "downgrade"])
    return Life(fails, cards, days, final, length)


def lived(billing, life: Life):
    """The life at the desk: (tries, states at the end of each day, the subscription)."""
    billing.plan("free", price=USD("0"), interval="day", interval_count=PERIOD)
    last = {"downgrade_to": "free"} if life.final == "downgrade" else {}
    billing.plan(interval="day", interval_count=PERIOD, grace_days=0,
                 dunning={"days": list(life.days), "final": life.final, **last})  # fmt: skip
    who = billing.user(card=None)
    method = billing.card(who)
    start, states = billing.env.now(), []
    sub, answers = billing.subscribe(who), "visa"
    for day in range(life.length + 1):
        billing.clock.set(start + timedelta(days=day))
        if day in life.cards:
            method, answers = billing.card(who), "visa"
        if life.fails.get(day, "visa") != answers:
            answers = life.fails.get(day, "visa")
            billing.reissue(method, answers)
        done = 0
        while more := renewals.run_due(billing.env):
            done += more
        states.append(billing.look(sub).state if done or not states else states[-1])
    rows = billing.all(
        "select created_at, state, error_code from payments where customer_id = %(c)s"
        " and asked_minor > 0 order by created_at, id", c=who.uuid)  # fmt: skip
    tries = [((row["created_at"] - start).days,
              None if row["state"] == "succeeded" else row["error_code"]) for row in rows]
    assert all((row["created_at"] - start) % timedelta(days=1) == timedelta(0) for row in rows)
    return tries, states, billing.look(sub), who


# I26 I23 S1.58
@pytest.mark.prove
@pytest.mark.parametrize("number", range(40 if PROVE else 4))
def test_months_with_cards_that_fail_on_given_days(billing, seed, number):
    life = drawn(random.Random(f"{seed}-{number}"), 360 if PROVE else 130)
    model = Model(life).run()
    tries, states, sub, who = lived(billing, life)
    assert tries == model.tries, life
    assert states == model.states, life
    assert billing.books(who, "revenue") == 2000 * len(model.paid)
    if sub.state == "canceled":
        assert sub.end_reason == "payment_failed"
        assert not billing.can(who, "tier:pro")


# I26
@pytest.mark.parametrize(
    ("life", "tries", "last"),
    [
        (Life(dict.fromkeys(range(30, 40), "visa_chargeDeclined"), set(), (1, 3, 5, 7),
              "cancel", 60), [0, 30, 31, 33, 35, 37], "canceled"),
        (Life({30: "visa_chargeDeclined", 31: "visa_chargeDeclined"}, set(), (1, 3, 5, 7),
              "cancel", 61), [0, 30, 31, 33, 60], "active"),
        (Life({30: "chargeDeclinedExpiredCard"}, set(), (1, 3, 5, 7), "cancel", 40),
         [0, 30], "canceled"),
        (Life({30: "chargeDeclinedExpiredCard"}, {36}, (1, 3, 5, 7), "cancel", 61),
         [0, 30, 36, 60], "active"),
        (Life({30: "visa_chargeDeclined", 31: "visa_chargeDeclined"}, {50}, (1,), "unpaid", 81),
         [0, 30, 31, 50, 80], "active"),
    ],
    ids=["never pays", "pays on the third day", "expired", "expired and a new card", "unpaid"],
)  # fmt: skip
def test_the_model_and_the_desk_say_what_a_person_would(billing, life, tries, last):
    """So that the model above is not merely as wrong as the desk."""
    assert [day for day, _ in Model(life).run().tries] == tries
    found, states, _, _ = lived(billing, life)
    assert [day for day, _ in found] == tries
    assert states[-1] == last
