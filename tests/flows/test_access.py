"""Access against its pure rule over random histories; by hand; told of once when it ends."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from goods_support import bought, course, given_back, membership, reason, taken_back

from paydesk.errors import (
    AlreadyPurchased,
    Conflict,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
)
from paydesk.flows import access
from paydesk.rules import access as rules

RESOURCES = ["course:python", "course:go", "course:*", "lab:1", "platform", "exports"]


def records(desk, customer_id: UUID):
    """Everything that the rule is a function of, and when each grant was made."""
    grants = desk.all(
        "select id, resource_type as type, resource_id as resource, source, source_id, starts_at,"
        " nullif(expires_at, 'infinity') as expires_at, created_at as given_at,"
        " source = 'purchase' and expires_at < 'infinity' as follows from access_grants"
        " where customer_id = %(c)s", c=customer_id,
    )  # fmt: skip
    voids = desk.all(
        "select grant_id, revoked_at, reinstated_at from access_revocations"
        " where customer_id = %(c)s", c=customer_id,
    )  # fmt: skip
    made = {g["id"]: g["given_at"] for g in grants}
    return [rules.Grant(**g) for g in grants], [rules.Revocation(**v) for v in voids], made


@pytest.mark.parametrize("round", range(4))
def test_access_at_any_instant_is_the_pure_function_of_the_records(desk, seed, round):
    """I20: over a random history of buying, giving, taking and giving back, at any instant; and
    what was true at an instant stays true of it."""
    draw = random.Random(f"{seed}{round}")
    course(desk)
    course(desk, "go", grants=[{"type": "course", "id": "go", "days": 20}, "exports"],
           repeatable=True)  # fmt: skip
    membership(desk, duration_months=1)
    user = desk.make.user()
    views, causes, seen = [], [], {}
    for _ in range(14):
        step = draw.choice(["buy", "buy", "take", "give", "grant", "revoke", "wait"])
        if step == "buy":
            what = draw.choice([{"item": "python"}, {"item": "go"},
                                {"service": "premium_membership"}])  # fmt: skip
            with suppress(AlreadyPurchased):
                views.append(bought(desk, user, **what))
        elif step == "take" and views:
            view, cause = draw.choice(views), draw.choice([*causes, uuid4()])
            causes.append(cause)
            taken_back(desk, view, cause)
        elif step == "give" and causes and views:
            given_back(desk, views[0], draw.choice(causes))
        elif step == "grant":
            access.grant(desk.env, user.uuid, draw.choice(RESOURCES), by="ana",
                         days=draw.choice([None, 1, 10]),
                         starts_at=desk.env.now() + timedelta(days=draw.choice([0, 0, 3])))
        elif step == "revoke":
            for one in access.list_(desk.env, user.uuid, active=True)[:1]:
                access.revoke(desk.env, user.uuid, one.id, by="ana")
        desk.clock.advance(hours=draw.choice([1, 30, 200]))
        at = desk.env.now()
        for name in RESOURCES:
            seen[at, name] = reason(desk, _of(user), name)
        desk.clock.advance(seconds=1)
    assert seen
    grants, voids, made = records(desk, user.uuid)
    for (at, name), told in seen.items():
        kind, ident = rules.parse(name)
        known = [one for one in grants if made[one.id] <= at]
        assert rules.decide(known, voids, kind, ident, at).reason == told, (at, name)
        # Grants of a later day change no answer about the past, but that more was to come.
        later = reason(desk, _of(user), name, at)
        assert later == told or (later == "not_yet" and told != "granted"), (at, name)


class _of:
    """A customer in the place of a checkout."""

    def __init__(self, user) -> None:
        self.customer_id = user.uuid


def lies(desk, customer_id: UUID) -> list[tuple]:
    """Where every grant is written to lie, in the order they were given."""
    rows = desk.all(
        "select id, starts_at, expires_at from access_grants where customer_id = %(c)s"
        " order by created_at, id", c=customer_id,
    )  # fmt: skip
    return [(row["id"], row["starts_at"], row["expires_at"]) for row in rows]


def test_days_that_follow_a_refunded_purchase_move_up_and_back(desk):
    """I20 S1.49 S1.51: no gap remains; a refund that fails restores the exact state before."""
    course(desk, "lab", repeatable=True, grants=["lab:gpu"], access_days=30)
    user, now = desk.make.user(), desk.env.now()
    first, _ = (bought(desk, user, item="lab") for _ in range(2))
    desk.clock.advance(days=10)
    before, cause = lies(desk, user.uuid), uuid4()
    assert taken_back(desk, first, cause)[0] == 1
    may = access.can(desk.env, user.uuid, "lab:gpu")
    assert may and may.expires_at == now + timedelta(days=40)
    assert [one.status for one in access.list_(desk.env, user.uuid)] == ["active", "revoked"]
    desk.clock.advance(days=31)
    assert reason(desk, _of(user), "lab:gpu") == "expired" and access.end_due(desk.env) == 2
    assert given_back(desk, first, cause)[0] == 0
    assert lies(desk, user.uuid) == before
    may = access.can(desk.env, user.uuid, "lab:gpu")
    assert may and may.expires_at == now + timedelta(days=60)
    moved = desk.all("select data from events where type = 'access.moved' order by seq")
    assert [row["data"]["starts_at"] for row in moved] == [
        (now + timedelta(days=n)).isoformat() for n in (10, 30)]  # fmt: skip
    desk.clock.advance(days=19)
    assert access.end_due(desk.env) == 1, "the end that came back is told of"


def test_days_refunded_after_their_end_do_not_come_again(desk):
    """I20: they had moved up and passed; undoing what moved them brings back unpaid days not."""
    course(desk, "lab", repeatable=True, grants=["lab:gpu"], access_days=30)
    user = desk.make.user()
    first, second = (bought(desk, user, item="lab") for _ in range(2))
    one, two = uuid4(), uuid4()
    desk.clock.advance(days=10)
    taken_back(desk, first, one)
    desk.clock.advance(days=35)
    taken_back(desk, second, two)
    given_back(desk, first, one)
    assert reason(desk, _of(user), "lab:gpu") != "granted"
    given_back(desk, second, two)
    assert reason(desk, _of(user), "lab:gpu") == "granted"


@pytest.mark.parametrize("round", range(3))
def test_bought_days_lie_where_the_records_say_after_any_history(desk, seed, round):
    """I20: buy, refund, fail, dispute, win, by hand, in any order: what is written is the pure
    function of the records, and undoing every taking leaves what was bought."""
    draw = random.Random(f"{seed}{round}days")
    course(desk, "lab", repeatable=True, grants=["lab:gpu"], access_days=7)
    three = {"type": "lab", "id": "gpu", "days": 3}
    course(desk, "kit", repeatable=True, grants=[three, "lab:cpu"])
    user = desk.make.user()
    views, open_ = [], []
    for _ in range(16):
        step = draw.choice(["buy", "buy", "take", "take", "give", "grant"])
        if step == "buy":
            views.append(bought(desk, user, item=draw.choice(["lab", "kit"])))
        elif step == "take" and views:
            view, cause = draw.choice(views), uuid4()
            taken_back(desk, view, cause, draw.choice(["refund", "dispute"]))
            open_.append((view, cause))
        elif step == "give" and open_:
            given_back(desk, *open_.pop(draw.randrange(len(open_))))
        elif step == "grant":
            access.grant(desk.env, user.uuid, "lab:gpu", by="ana", days=draw.choice([2, 5]))
        _check_lies(desk, user.uuid)
        desk.clock.advance(hours=draw.choice([1, 20, 50, 200]))
    while open_:
        given_back(desk, *open_.pop(draw.randrange(len(open_))))
        _check_lies(desk, user.uuid)
    grants, voids, _ = records(desk, user.uuid)
    assert all(one.reinstated_at is not None for one in voids)
    as_bought = {one.grant.id: one.grant for one in rules.place(grants, [], desk.env.now())}
    assert all(as_bought[one.id] == one for one in grants)


def _check_lies(desk, customer_id: UUID) -> None:
    grants, voids, _ = records(desk, customer_id)
    placed = {one.grant.id: one.grant for one in rules.place(grants, voids, desk.env.now())}
    assert all(placed[one.id] == one for one in grants)


# S1.49!
def test_access_is_given_and_taken_by_hand_by_name(desk):
    """S1.49: with who did it and why, in the record and in the event."""
    user = desk.make.user()
    made = access.grant(desk.env, user.uuid, "lab:gpu", by="ana@example.com", reason="press",
                        days=7)  # fmt: skip
    assert (made.status, made.granted_by, made.name) == ("active", "ana@example.com", "lab:gpu")
    may = access.can(desk.env, user.uuid, "lab:gpu")
    assert may and may.expires_at == desk.env.now() + timedelta(days=7)
    assert may.source.startswith("ent_")
    gone = access.revoke(desk.env, user.uuid, made.id, by="rosa", reason="over")
    assert (gone.status, gone.revoked_by, gone.revoked_reason) == ("revoked", "rosa", "over")
    assert reason(desk, _of(user), "lab:gpu") == "revoked"
    with pytest.raises(Conflict):
        access.revoke(desk.env, user.uuid, made.id, by="rosa")
    causes = desk.all("select type, cause from events where type like 'access.%%' order by seq")
    assert [(row["type"], row["cause"]["by"]) for row in causes] == [
        ("access.granted", "ana@example.com"), ("access.revoked", "rosa")]  # fmt: skip


def test_the_same_key_gives_access_once(desk):
    """I27"""
    user, key = desk.make.user(), uuid4()
    first = access.grant(desk.env, user.uuid, "lab:1", by="ana", request_key=key)
    assert access.grant(desk.env, user.uuid, "lab:1", by="ana", request_key=key) == first
    with pytest.raises(IdempotencyKeyReused):
        access.grant(desk.env, user.uuid, "lab:2", by="ana", request_key=key)
    assert len(access.list_(desk.env, user.uuid)) == 1


def test_what_cannot_be_given_is_refused(desk):
    user = desk.make.user()
    for more in ({"days": 0}, {"days": 5, "expires_at": desk.env.now()},
                 {"expires_at": desk.env.now()}, {"by": ""}):  # fmt: skip
        with pytest.raises(InvalidRequest):
            access.grant(desk.env, user.uuid, "lab:1", **{"by": "ana", **more})
    with pytest.raises(InvalidRequest):
        access.grant(desk.env, user.uuid, "no resource", by="ana")
    with pytest.raises(NotFound):
        access.revoke(desk.env, user.uuid, uuid4(), by="ana")


def test_access_to_come_says_so(desk):
    """S1.49"""
    user = desk.make.user()
    tomorrow = desk.env.now() + timedelta(days=1)
    access.grant(desk.env, user.uuid, "lab:1", by="ana", starts_at=tomorrow)
    assert reason(desk, _of(user), "lab:1") == "not_yet"
    assert access.list_(desk.env, user.uuid)[0].status == "coming"
    desk.clock.set(tomorrow)
    assert reason(desk, _of(user), "lab:1") == "granted"


def test_what_has_no_access_is_told_where_to_buy_it(desk):
    """S1.49: the offer is what is on sale."""
    course(desk)
    may = access.can(desk.env, desk.make.user().uuid, "course:python")
    assert not may and may.reason == "not_purchased"
    start = f"{desk.env.settings.base_url}/portal/offer?item=python&for="
    assert may.offer_url.startswith(start)
    assert access.can(desk.env, desk.make.user().uuid, "lab:1").offer_url is None


def test_the_end_is_told_only_where_access_really_ends(desk):
    """I28: not for what another grant goes on giving, nor for what was revoked before."""
    user = desk.make.user()
    for resource, days in (("lab:1", 1), ("lab:*", 5), ("course:a", 1)):
        access.grant(desk.env, user.uuid, resource, by="ana", days=days)
    gone = access.list_(desk.env, user.uuid, type="course")[0]
    access.revoke(desk.env, user.uuid, gone.id, by="ana")

    def told() -> list[str]:
        rows = desk.all("select data ->> 'resource' as r from events where type = 'access.expired'")
        return [row["r"] for row in rows]

    desk.clock.advance(days=1)
    assert access.end_due(desk.env) == 2 and told() == []
    desk.clock.advance(days=4)
    assert (access.end_due(desk.env), access.end_due(desk.env)) == (1, 0)
    assert told() == ["lab:*"]


def test_grants_are_listed_by_kind_and_page(desk):
    """S1.49"""
    user = desk.make.user()
    for n in range(4):
        access.grant(desk.env, user.uuid, f"lab:{n}", by="ana", days=1 + n)
        desk.clock.advance(minutes=1)
    found = access.list_(desk.env, user.uuid)
    assert [one.resource for one in found] == ["3", "2", "1", "0"]
    assert access.list_(desk.env, user.uuid, limit=2, after=found[1].id) == found[2:]
    desk.clock.advance(days=2)
    assert [one.resource for one in access.list_(desk.env, user.uuid, active=True)] == ["3", "2"]
    ended = access.list_(desk.env, user.uuid, active=False)
    assert [one.status for one in ended] == ["expired", "expired"]
