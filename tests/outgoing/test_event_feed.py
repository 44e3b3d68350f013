"""The ordered feed of events, its filters, and one event found among many by its id."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_support import OWN_KEY, Client, problem_of

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import credit_grants, event_search, events
from paydesk.http.app import create_app


def many(db: Any, customer_id: Any, times_ms: list[int]) -> list[Any]:
    """Events made at these instants, in this order, as one writer after the other would."""
    made = [ids.new_owned(customer_id, ms) for ms in times_ms]
    with db.transaction(customer_id) as tx:
        first = tx.heads[customer_id].seq + 1
        tx.run(
            "insert into events (customer_id, seq, id, type, subject_id, data)"
            " select %(c)s, n.seq, n.id, 'customer.updated', %(c)s, '{}'"
            " from unnest(%(seqs)s::bigint[], %(ids)s::uuid[]) as n (seq, id)",
            {"c": customer_id, "seqs": list(range(first, first + len(made))), "ids": made},
        )
        tx.run("update heads set seq = seq + %(n)s where customer_id = %(c)s",
               {"n": len(made), "c": customer_id})  # fmt: skip
    return made


class Counted:
    """A transaction that counts what is read through it."""

    def __init__(self, tx: Any) -> None:
        self.tx, self.statements, self.rows = tx, 0, 0

    def value(self, sql: Any, params: Any) -> Any:
        self.statements += 1
        return self.tx.value(sql, params)

    def all(self, sql: Any, params: Any) -> Any:
        self.statements += 1
        found = self.tx.all(sql, params)
        self.rows += len(found)
        return found


@pytest.mark.parametrize("skew_ms", [0, 1_500, 600_000])
def test_one_event_among_many_is_found_by_reading_a_few(db, make, skew_ms, seed):
    """Also where the clocks of the writers differ, or one stepped back."""
    rng = random.Random(seed)
    user = make.user()
    start = time.time_ns() // 1_000_000 + 3_600_000
    times = [start + n * 700 + rng.randint(-skew_ms, skew_ms) for n in range(6_000)]
    made = many(db, user.uuid, times)
    base = 1  # customer.created
    with db.read() as tx:
        for place in [0, 1, 2, 5_998, 5_999, *rng.sample(range(6_000), 40)]:
            counted = Counted(tx)
            assert event_search.seq_of(counted, user.uuid, made[place]) == base + 1 + place
            assert counted.statements <= 20 and counted.rows <= 1_200
        for ms in (0, start + 50_000, start + 10**9):
            assert event_search.seq_of(tx, user.uuid, ids.new_owned(user.uuid, ms)) is None


def test_many_events_of_one_millisecond_are_told_apart(db, make):
    user = make.user()
    made = many(db, user.uuid, [time.time_ns() // 1_000_000] * 2_000)
    with db.read() as tx:
        found = [event_search.seq_of(tx, user.uuid, made[n]) for n in (0, 777, 1_999)]
    assert found == [2, 779, 2_001]


def test_an_event_is_got_by_its_id_by_its_owner_alone(env, make):
    user, other = make.user(), make.user()
    [created] = events.list_events(env, user.uuid)
    assert events.get_event(env, created.id) == created
    with pytest.raises(NotFound):
        events.get_event(env, created.id, customer_id=other.uuid)
    with pytest.raises(NotFound):
        events.get_event(env, ids.show("event", ids.new_owned(user.uuid)))
    with pytest.raises(NotFound):
        events.get_event(env, ids.show("event", ids.new_owned(ids.new_customer())))


def test_the_feed_has_no_gaps_and_goes_on_from_any_number(env, make):  # I28
    user = make.user("shop_7")
    for n in range(1, 8):
        make.credits(user, n)
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:
        seen: list[int] = []
        while True:
            asked = {"customer": "shop_7", "after_sequence": seen[-1] if seen else 0, "limit": 3}
            page = http.get("/v1/events", params=asked).json()
            seen += [one["sequence"] for one in page["data"]]
            if not page["has_more"]:
                break
        assert seen == list(range(1, len(seen) + 1)) and len(seen) >= 8
        own = http.as_user("shop_7").get("/v1/events?after_sequence=5").json()["data"]
        assert [one["sequence"] for one in own][:1] == [6]
        problem_of(http.get("/v1/events?after_sequence=0"), 422, "invalid_request")
        wrong = http.get("/v1/events?customer=shop_7&after_sequence=0&starting_after=evt_x")
        assert wrong.status_code in (404, 422)


def test_a_reader_misses_nothing_while_many_write_for_the_same_customer(env, make):  # I28
    """Numbers are given under the customer's lock: one that is seen has all before it."""
    user, other = make.user(), make.user()
    per_writer, writers = 25, 6
    done = threading.Event()

    def write(k: int) -> None:
        for _ in range(per_writer):
            credit_grants.grant_now(env, user.uuid, 1)
            if k == 0:
                credit_grants.grant_now(env, other.uuid, 1)

    def read(customer_id: Any) -> list[int]:
        seen: list[int] = []
        while True:
            last_round = done.is_set()
            found = events.after(env, customer_id, seen[-1] if seen else 0, limit=7)
            seen += [one.seq for one in found]
            if last_round and not found:
                return seen

    with ThreadPoolExecutor(writers + 2) as pool:
        readers = [pool.submit(read, user.uuid), pool.submit(read, other.uuid)]
        for one in [pool.submit(write, k) for k in range(writers)]:
            one.result()
        done.set()
        whole, quiet = (one.result() for one in readers)
    assert whole == list(range(1, per_writer * writers + 2))
    assert quiet == list(range(1, per_writer + 2))


def test_events_are_filtered_by_type_subject_and_time(env, make, clock):
    user = make.user("shop_7")
    make.credits(user, 5)
    clock.advance(hours=2)
    since = clock.now().isoformat()
    make.credits(user, 6)
    make.credits(make.user(), 7)
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:

        def amounts(**asked: Any) -> list[int]:
            answer = http.get("/v1/events", params={"type": "credits.granted", **asked})
            assert answer.status_code == 200, answer.text
            return [one["data"]["amount"] for one in answer.json()["data"]]

        assert amounts(customer="shop_7") == [6, 5]
        assert amounts(customer="shop_7", **{"created_at[gte]": since}) == [6]
        assert amounts(customer="shop_7", **{"created_at[lt]": since}) == [5]
        assert sorted(amounts(**{"created_at[gte]": since})) == [6, 7]
        assert amounts(**{"created_at[lt]": since}) == [5]
        [one] = events.list_events(env, user.uuid, limit=1, types=["credits.granted"])
        assert amounts(customer="shop_7", subject=one.subject) == [6]
        assert amounts(subject=one.subject) == [6]
        assert amounts(customer="shop_7", subject=one.subject, after_sequence=0) == [6]
        problem_of(http.get("/v1/events?subject=nonsense"), 404, "not_found")
    with pytest.raises(InvalidRequest):
        events.after(env, user.uuid, 0, types=["nothing.happened"])
