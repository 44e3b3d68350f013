"""Credits spent: the whole thing, batches, draws and event, in process on group commit."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from uuid import UUID

from bench.harness import Desk, Row, many_customers, percentile, timed
from paydesk.assemble import build_env
from paydesk.env import Env
from paydesk.flows import credit_grants, credits
from paydesk.settings import Settings

CUSTOMERS = 5_000
CREDITS = 100_000_000


def stock(env: Env, count: int, batches: int = 1, prefix: str = "bench") -> list[UUID]:
    """Customers that hold credits in this many open batches each."""
    owners = many_customers(env, [f"{prefix}-{batches}-{n}" for n in range(count)])
    now = env.now()
    per_group = max(1, 2_000 // batches)
    for at in range(0, len(owners), per_group):
        part = owners[at : at + per_group]
        with env.db.transaction(*part) as tx:
            grants = [
                credit_grants.Grant(customer_id=owner, amount=CREDITS // batches,
                                    kind="promotional", expires_at=now + timedelta(days=365))
                for owner in part
                for _ in range(batches)
            ]
            credit_grants.grant(tx, grants, now)
    return owners


def item(owner: UUID) -> credits.Spend:
    return credits.new_spend(owner, 1, "bench")


def drive(env: Env, owners: list[UUID], callers: int, seconds: float) -> tuple[float, list[float]]:
    """Keep `callers` spends under way for this long; rate a second and latencies in ms."""
    latencies: list[float] = []
    pick = itertools.cycle(random.sample(owners, len(owners)))
    done = threading.Semaphore(0)
    started: dict[Future, float] = {}
    failed: list[object] = []

    def finished(future: Future) -> None:
        latencies.append((time.perf_counter() - started.pop(future)) * 1000)
        verdict = future.result()
        if verdict.status != "done":
            failed.append(verdict)
        done.release()

    def submit() -> None:
        at = time.perf_counter()
        future = credits.spend_soon(env, item(next(pick)))
        started[future] = at
        future.add_done_callback(finished)

    begin = time.perf_counter()
    for _ in range(callers):
        submit()
    while time.perf_counter() - begin < seconds:
        done.acquire()
        submit()
    for _ in range(callers):
        done.acquire()
    took = time.perf_counter() - begin
    if failed:
        raise RuntimeError(f"{len(failed)} spends were refused, the first: {failed[0]}")
    return len(latencies) / took, latencies


def row(name: str, rate: float, latencies: list[float], target: str, **more: object) -> Row:
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return Row(name, rate, p50, p99, target=target, **more)  # type: ignore[arg-type]


def futures(desk: Desk, seconds: float) -> None:
    owners = stock(desk.env, CUSTOMERS)
    for callers, target in ((1, "0.2 R"), (8, "0.6 R"), (64, "0.8 R, 15 ms"), (512, "1.5 R")):
        drive(desk.env, owners, callers, 0.5)
        rate, latencies = drive(desk.env, owners, callers, seconds)
        desk.report(row(f"spend, distinct customers, {callers} callers", rate, latencies, target))


def hot(desk: Desk, seconds: float) -> None:
    owner = stock(desk.env, 1, prefix="hot")
    for callers, target in ((64, "2 x hot"), (512, "3 x hot")):
        rate, latencies = drive(desk.env, owner, callers, seconds)
        desk.report(row(f"spend, one hot customer, {callers} callers", rate, latencies, target,
                        pgbench_per_s=desk.pgbench_hot_per_s, note="against pgbench hot"))


def threads(desk: Desk, seconds: float) -> None:
    """64 plain threads that each wait for their own verdict."""
    owners = stock(desk.env, CUSTOMERS)
    latencies: list[float] = []
    stop_at = time.perf_counter() + seconds

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        while time.perf_counter() < stop_at:
            took = timed(lambda: credits.spend_now(desk.env, item(chooser.choice(owners))))
            latencies.append(took * 1000)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(64)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = len(latencies) / (time.perf_counter() - begin)
    reference, _ = drive(desk.env, owners, 64, seconds)
    share = f"{rate / reference:.2f} of futures, target 0.8"
    desk.report(row("spend, 64 plain threads", rate, latencies, "", note=share))


def bulk(desk: Desk, seconds: float) -> None:
    owners = stock(desk.env, CUSTOMERS)
    latencies: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        items = [item(o) for o in random.sample(owners, 100)]
        latencies.append(timed(lambda items=items: credits.spend_many_now(desk.env, items)) * 1000)
    rate = 100 * len(latencies) / (time.perf_counter() - begin)
    desk.report(row("spend, 100 in one call", rate, latencies, "2.5 R"))


def batches(desk: Desk, seconds: float) -> None:
    one, hundred = stock(desk.env, 500), stock(desk.env, 500, batches=100)
    first, _ = drive(desk.env, one, 64, seconds)
    rate, latencies = drive(desk.env, hundred, 64, seconds)
    desk.report(row("spend, 100 open batches each, 64 callers", rate, latencies, "",
                    note=f"{rate / first:.2f} of one batch, target 0.6"))


def many_batches(desk: Desk, seconds: float) -> None:
    """One customer with 200,000 open batches, loaded by SQL, then proved by the doctor."""
    (owner,) = stock(desk.env, 1, prefix="many")
    load_batches(desk, owner, 200_000)
    rate, latencies = drive(desk.env, [owner], 64, seconds)
    desk.report(row("spend, one customer with 200,000 open batches", rate, latencies, "0.2 R"))


def load_batches(desk: Desk, owner: UUID, count: int) -> None:
    grants = 1_000
    now = desk.env.now()
    for _ in range(count // grants):
        with desk.env.db.transaction(owner) as tx:
            credit_grants.grant(tx, [
                credit_grants.Grant(customer_id=owner, amount=1, kind="promotional",
                                    expires_at=now + timedelta(days=365))
                for _ in range(grants)
            ], now)


def two_processes(desk: Desk, seconds: float) -> None:
    stock(desk.env, CUSTOMERS)
    told = json.dumps({"dsn": desk.server.dsn, "seconds": seconds, "callers": 256})
    children = [
        subprocess.Popen([sys.executable, "-m", "bench.spending", told, str(n)],
                         stdout=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    answers = [json.loads(child.communicate()[0]) for child in children]
    rate = sum(a["rate"] for a in answers)
    latencies = [ms for a in answers for ms in a["latencies"]]
    desk.report(row("spend, two processes, 512 callers together", rate, latencies, "2.0 R"))


def child(told: str, number: str) -> None:
    """One of the two processes: half of the customers, the same work, the figures on stdout."""
    words = json.loads(told)
    limits = {"max_daily_transactions": 2_000_000_000, "max_transaction_amount": 10**9,
              "max_credit_balance": 10**15}
    settings = Settings(database_url=words["dsn"], simulator_url="http://127.0.0.1:9", **limits)
    env = build_env(settings, start_missing=False)
    half = range(int(number), CUSTOMERS, 2)
    owners = many_customers(env, [f"bench-1-{n}" for n in half])
    drive(env, owners, words["callers"], 0.5)
    rate, latencies = drive(env, owners, words["callers"], words["seconds"])
    env.close()
    print(json.dumps({"rate": rate, "latencies": latencies[:: max(1, len(latencies) // 2000)]}))


def large(desk: Desk, seconds: float) -> None:
    """Cost of a posting at ten million accounts against a hundred thousand."""
    import psycopg

    small = stock(desk.env, CUSTOMERS)
    first, _ = drive(desk.env, small, 64, seconds)
    with psycopg.connect(desk.server.owner_dsn) as conn:
        conn.execute(
            "insert into accounts (customer_id, code, asset, balance, floor)"
            " select gen_random_uuid(), 1, 'CREDIT', 0, 0 from generate_series(1, 10000000)"
        )
    rate, latencies = drive(desk.env, small, 64, seconds)
    desk.report(row("spend beside 10 million more accounts, 64 callers", rate, latencies, "",
                    note=f"cost {first / rate:.2f} times, target 1.3 at most"))


def measure(work: Callable[[], object], seconds: float) -> tuple[int, float]:
    """How often `work` ran in about this many seconds, and the seconds it took."""
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        work()
        count += 1
    return count, time.perf_counter() - begin


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2])
