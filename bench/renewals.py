"""`./run bench renewals --count N`: N subscriptions due at once, renewed by one worker and by two.

What is due is made by SQL. Each worker is a process with a simulator of its own inside it, asked
without HTTP. Afterwards every period must have one invoice and one payment, the doctor must find
nothing, and no worker may have taken more memory than MEMORY_MB beyond what it began with. Rates
stand beside R, what pgbench reaches in the same run (bench/harness.py).
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import psycopg

from bench import harness
from bench.harness import Desk, Row
from paydesk import ids
from paydesk.assemble import build_env
from paydesk.env import Env
from paydesk.flows import doctor, plans, provider_calls, renewals
from paydesk.providers.base import Providers
from paydesk.providers.stripe import Stripe
from paydesk.rules.money import USD
from paydesk.settings import Settings
from paydesk.simulator.testing import Sandbox, sandbox_in_process
from paydesk.worker import settle_in

CHUNK = 10_000
PLAN = "bench-renewals"
#: What a worker may take at most beyond what it has when it begins, however much is due.
MEMORY_MB = 64
#: Seconds from one word of progress to the next.
PROGRESS_S = 15
#: Rounds with nothing to do after which a worker goes home.
IDLE_ROUNDS = 3


# What is due -----------------------------------------------------------------------------------

_FILL = (
    """
    insert into customers (customer_id, external_id, email, name, owner_id)
    select c, n, n || '@example.com', n, c
    from unnest(%(customers)s::uuid[], %(names)s::text[]) as k(c, n)""",
    """
    insert into customer_refs (external_id, customer_id)
    select n, c from unnest(%(customers)s::uuid[], %(names)s::text[]) as k(c, n)""",
    "insert into heads (customer_id) select unnest(%(customers)s::uuid[])",
    """
    insert into payment_methods (customer_id, id, provider, ref, kind, brand, last4, exp_month,
        exp_year, country, is_default)
    select c, m, 'stripe', 'pm_card_visa', 'card', 'visa', '4242', 12, 2099, 'US', true
    from unnest(%(customers)s::uuid[], %(methods)s::uuid[]) as k(c, m)""",
    """
    insert into subscriptions (customer_id, id, state, plan_id, plan_version, family, currency,
        price_minor, monthly_minor, anchor, period_start, period_end, provider, due_at,
        request_key, request_hash, created_at)
    select c, s, 'active', %(plan)s, 1, 'bench', 'usd', 2000, 2000, %(start)s, %(start)s, %(end)s,
        'stripe', %(end)s, s, '\\x00', %(start)s
    from unnest(%(customers)s::uuid[], %(subs)s::uuid[]) as k(c, s)""",
    """
    insert into subscription_history (customer_id, number, subscription_id, changed_at, state,
        plan_id, plan_version, quantity, currency, monthly_minor, was_minor, movement)
    select c, 1, s, %(start)s, 'active', %(plan)s, 1, 1, 'usd', 2000, 0, 'new'
    from unnest(%(customers)s::uuid[], %(subs)s::uuid[]) as k(c, s)""",
)  # fmt: skip


def fill(desk: Desk, count: int, start: datetime, end: datetime, prefix: str) -> None:
    """So many customers with a card and a subscription whose period has just ended."""
    plan = plans.upsert(
        desk.env, PLAN, name="Bench", price=USD("20.00"), family="bench", grants=["tier:bench"]
    )
    with psycopg.connect(desk.server.owner_dsn, autocommit=True) as conn:
        conn.execute("set synchronous_commit = off")
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            customers = [ids.new_customer() for _ in range(size)]
            told = {
                "customers": customers, "plan": plan.uuid, "start": start, "end": end,
                "names": [f"{prefix}-{first + n}" for n in range(size)],
                "methods": [ids.new_owned(one) for one in customers],
                "subs": [ids.new_owned(one) for one in customers],
            }
            for statement in _FILL:
                conn.execute(statement, told)
            _say(f"{first + size:,} of {count:,} are due")
        conn.execute("vacuum (analyze)")


def _say(text: str) -> None:
    """A word of progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


# The provider ----------------------------------------------------------------------------------


class InProcess(Stripe):
    """Stripe whose every call is answered by a simulator in this process, without HTTP."""

    sandbox: Sandbox

    @property
    def _client(self) -> Any:
        def create(params: dict[str, Any], options: dict[str, Any]) -> Any:
            data = self.sandbox.request("POST", "/v1/payment_intents", params, **options)
            return SimpleNamespace(last_response=SimpleNamespace(data=data, body=""))

        return SimpleNamespace(v1=SimpleNamespace(payment_intents=SimpleNamespace(create=create)))


def env_of(settings: Settings, sandbox: Sandbox) -> Env:
    env = build_env(settings, start_missing=False)
    provider = InProcess(settings)
    provider.sandbox = sandbox
    sandbox.suspend_delivery()
    return replace(env, providers=Providers(settings, {"stripe": provider}, "stripe"))


# A worker --------------------------------------------------------------------------------------


def child(told: str) -> None:
    """A worker's process: renews until nothing is due; its figures on stdout as JSON."""
    words = json.loads(told)
    settings = Settings(
        database_url=words["dsn"], simulator_url="http://127.0.0.1:9", **harness.LIMITS
    )
    profile = cProfile.Profile() if words.get("profile") else None
    # What the simulator keeps of every charge is on disk: memory is the worker's own.
    with TemporaryDirectory() as folder, sandbox_in_process(db=f"{folder}/sim.db") as sandbox:
        env = env_of(settings, sandbox)
        env.db.open()
        _load()
        settle_in()  # As `paydesk worker` does.
        sent = _counted()
        done, idle, seen = 0, 0, [_resident()]
        print("ready", flush=True)
        sys.stdin.readline()  # All begin together.
        begin = last = told_at = time.perf_counter()
        before, mine = time.process_time(), time.thread_time()
        its = _thread_time(sandbox)
        if profile:
            profile.enable()
        while idle < IDLE_ROUNDS:
            now = renewals.run_due(env)
            if now:
                done, idle, last = done + now, 0, time.perf_counter()
                seen.append(_resident())
                if last - told_at > PROGRESS_S:
                    told_at = last
                    _say(f"{done:,} done in {last - begin:.0f} s, {seen[-1] / 1e6:.0f} MB")
            else:
                idle += 1
                time.sleep(0.05)
        spent = {
            "cpu_s": time.process_time() - before, "batches_s": time.thread_time() - mine,
            "simulator_s": _thread_time(sandbox) - its,
        }  # fmt: skip
        if profile:
            profile.disable()
            pstats.Stats(profile).dump_stats(words["profile"])
        env.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "done": done, "seconds": last - begin, **spent, "statements": len(sent), "peak": peak,
        "resident": seen[:: max(1, len(seen) // 10)],
    }))


def _load() -> None:
    """What a process loads once is no renewal."""
    import importlib

    for name in ("stripe", "paydesk.flows.subscriptions", *provider_calls.ACTIONS.values()):
        importlib.import_module(name)


def _counted() -> list[None]:
    """Grows by one with each statement that is sent."""
    sent: list[None] = []
    execute = psycopg.Cursor.execute

    def counted(self: Any, *given: Any, **more: Any) -> Any:
        sent.append(None)
        return execute(self, *given, **more)

    psycopg.Cursor.execute = counted  # type: ignore[method-assign]
    return sent


def _thread_time(sandbox: Sandbox) -> float:
    """Seconds that the simulator's own thread was on a processor."""
    return sandbox.sim.store.call(lambda tx: time.thread_time())


def _resident() -> int:
    """Bytes of memory in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def sweep(desk: Desk, workers: int, profile: str | None) -> tuple[float, list[dict[str, Any]]]:
    """Let so many workers renew what is due; (seconds from the common start to the last one's
    end, each one's figures)."""
    words = json.dumps({"dsn": desk.server.dsn, "profile": profile})
    children = [
        subprocess.Popen([sys.executable, "-m", "bench.renewals", "--child", words],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(workers)
    ]
    for one in children:
        assert one.stdout is not None
        while one.stdout.readline() not in ("ready\n", ""):
            pass  # What a process loads once is no renewal.
    for one in children:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = []
    for one in children:
        out = one.communicate()[0]
        if one.returncode:
            raise RuntimeError(f"a worker ended with {one.returncode}")
        *said, last = out.splitlines()
        for line in said[:20]:
            print(line)
        answers.append(json.loads(last))
    return max(one["seconds"] for one in answers), answers


def check(desk: Desk, count: int, prefix: str, end: datetime) -> None:
    """One invoice and one payment for each period, access until after it, and a doctor who finds
    nothing. Raises RuntimeError."""
    start = time.perf_counter()
    with psycopg.connect(desk.server.owner_dsn, autocommit=True) as conn:
        conn.execute("vacuum (analyze)")
    with desk.env.db.read() as tx:
        found = tx.one(
            "select count(*) as subs, count(distinct s.id) filter (where i.n = 1 and i.paid = 1"
            " and p.n = 1 and p.good = 1 and g.n = 1 and s.state = 'active' and s.period = 1"
            " and s.due_at > %(end)s) as well"
            " from customers c join subscriptions s on s.customer_id = c.customer_id"
            " cross join lateral (select count(*) as n, count(*) filter (where state = 'paid')"
            "  as paid from invoices where customer_id = s.customer_id) i"
            " cross join lateral (select count(*) as n, count(*) filter (where state ="
            "  'succeeded') as good from payments where customer_id = s.customer_id) p"
            " cross join lateral (select count(*) as n from access_grants"
            "  where customer_id = s.customer_id) g"
            " where c.external_id like %(prefix)s || '-%%'",
            {"prefix": prefix, "end": end},
        )
    assert found is not None
    if (found["subs"], found["well"]) != (count, count):
        raise RuntimeError(f"{found['well']} of {count} periods were billed once and paid once")
    broken = [one for one in doctor.check(desk.env.db) if not one.ok]
    if broken:
        raise RuntimeError(f"the doctor finds: {broken}")
    _say(f"every period has one invoice and one payment ({time.perf_counter() - start:.0f} s)")


def _database_time(desk: Desk) -> float:
    """Seconds that PostgreSQL's processes were on a processor so far, those that are gone too."""
    first = desk.server.pid
    found = _stat(first)
    ticks = sum(found[name] for name in ("own", "gone"))
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                one = _stat(int(folder.name))
            except OSError:
                continue
            ticks += one["own"] if one["parent"] == first else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> dict[str, int]:
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, gone_user, gone_system = (int(one) for one in told[11:15])
    return {"parent": int(told[1]), "own": user + system, "gone": gone_user + gone_system}


def run(desk: Desk, count: int, workers: int, profile: str | None = None) -> Row:
    """One round: fill, sweep, check, report."""
    now, prefix = desk.env.now(), f"due{workers}-{time.time_ns()}"
    end = now - timedelta(hours=1)
    fill(desk, count, end - timedelta(days=30), end, prefix)
    its = _database_time(desk)
    seconds, answers = sweep(desk, workers, profile)
    its = _database_time(desk) - its
    check(desk, count, prefix, end)
    shares = " + ".join(str(one["done"]) for one in answers)
    memory = max(one["peak"] for one in answers) / 1e6
    first = max(one["resident"][0] for one in answers) / 1e6
    name = f"renewals, {count:,} due, {workers} worker{'s' if workers > 1 else ''}"

    def each(what: str) -> float:
        return sum(one[what] for one in answers) / count

    row = desk.report(Row(
        name, count / seconds, target="0.10 R",
        note=f"{seconds:.1f} s, {shares} done; on a processor each {each('cpu_s') * 1000:.2f} ms of"
             f" a worker ({each('batches_s') * 1000:.2f} its batches,"
             f" {each('simulator_s') * 1000:.2f} its simulator), {its / count * 1000:.2f} ms of the"
             f" database; {each('statements'):.2f} statements each; {first:.0f} MB at first,"
             f" {memory:.0f} MB at most",
    ))  # fmt: skip
    if memory - first > MEMORY_MB:
        raise RuntimeError(f"a worker took {memory - first:.0f} MB more, not {MEMORY_MB} at most")
    return row


def main(given: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="./run bench renewals", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="subscriptions due for each row")
    parser.add_argument("--workers", type=_numbers, default=[1, 2], metavar="1,2",
                        help="processes of each row")
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a row")
    parser.add_argument("--profile", metavar="FILE", help="keep a profile of one worker")
    told = parser.parse_args(given)
    with harness.desk() as desk:
        desk.pgbench_per_s = harness.pgbench(desk)
        desk.report(Row("pgbench -M prepared -c 8, distinct (R)", desk.pgbench_per_s))
        for workers in told.workers:
            run(desk, told.count, workers, told.profile if workers == 1 else None)
        desk.report(Row("pgbench again at the end", harness.pgbench(desk)))
        if told.json:
            harness.write_json(desk.rows, told.json)


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main(sys.argv[1:])
