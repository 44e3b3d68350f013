"""What every benchmark shares: the database, pgbench beside it, timing, the table, JSON lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import UUID

from psycopg.conninfo import conninfo_to_dict

from paydesk.assemble import build_env
from paydesk.db import embedded
from paydesk.env import Env
from paydesk.flows import customers
from paydesk.settings import Settings

#: Limits are lifted, so that a benchmark measures work and not refusals.
LIMITS = {
    "max_daily_transactions": 2_000_000_000,
    "max_transaction_amount": 1_000_000_000,
    "max_credit_balance": 10**15,
    "rate_limit": 10**9,
}
ACCOUNTS = 100_000
_SCRIPT = """\\set a random(1, {accounts})
\\set b random(1, {accounts})
begin;
insert into bench_entries (a, b, amount) values (:a, :b, 1);
update bench_accounts set balance = balance - 1 where id = :a;
update bench_accounts set balance = balance + 1 where id = :b;
commit;
"""


@dataclass
class Row:
    """One line of the result. Rates are a second, times milliseconds, ratio to pgbench."""

    name: str
    per_s: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    pgbench_per_s: float | None = None
    ratio: float | None = None
    target: str = ""
    note: str = ""


@dataclass
class Desk:
    """A migrated database with fsync on, an environment over it, and pgbench's own rate."""

    server: embedded.Server
    env: Env
    data_dir: Path
    settings: Settings
    rows: list[Row] = field(default_factory=list)
    pgbench_per_s: float = 0.0
    pgbench_hot_per_s: float = 0.0

    def report(self, row: Row) -> Row:
        """Keep a row and print it at once; the ratio is to pgbench unless it is given."""
        row.pgbench_per_s = row.pgbench_per_s or self.pgbench_per_s
        if row.ratio is None and row.pgbench_per_s:
            row.ratio = row.per_s / row.pgbench_per_s
        self.rows.append(row)
        times = f"p50 {row.p50_ms:8.2f}  p99 {row.p99_ms:8.2f} ms" if row.p50_ms is not None else ""
        ratio = f"{row.ratio:6.2f}" if row.ratio is not None else "      "
        print(f"{row.name:<48} {row.per_s:10,.0f}/s {ratio}  {row.target:<12} {times} {row.note}")
        sys.stdout.flush()
        return row


@contextmanager
def _folder(kept: str | None) -> Iterator[str]:
    """A folder of one's own for this run, or one that is kept."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="paydesk-bench-") as folder:
            os.chmod(folder, 0o755)
            yield folder
    else:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield kept


@contextmanager
def desk(kept: str | None = None) -> Iterator[Desk]:
    """Start a PostgreSQL of its own in a temporary folder, or in one that is kept, migrated; stop
    it at the end."""
    with _folder(kept) as folder:
        data_dir = Path(folder) / "data"
        server = embedded.start(data_dir)
        settings = Settings(
            database_url=server.dsn, data_dir=str(data_dir), stripe_webhook_secret="whsec_bench",
            jwt_secret="bench-secret-of-thirty-two-bytes!", simulator_url="http://127.0.0.1:9",
            **LIMITS,
        )
        migrate_owner(server)
        env = build_env(settings, start_missing=False)
        try:
            yield Desk(server, env, data_dir, settings)
        finally:
            env.close()
            server.stop()


def migrate_owner(server: embedded.Server) -> None:
    from paydesk.db import migrate

    migrate.migrate(server.owner_dsn)


def pgbench(desk: Desk, *, hot: bool = False, seconds: int = 8) -> float:
    """Transactions a second of the minimal debit/credit script, eight prepared clients."""
    dsn = conninfo_to_dict(desk.server.owner_dsn)
    environ = {
        "PATH": "/usr/bin:/bin", "PGHOST": str(dsn["host"]), "PGPORT": str(dsn["port"]),
        "PGUSER": str(dsn["user"]), "PGDATABASE": str(dsn["dbname"]),
        "PGPASSWORD": str(dsn.get("password", "")),
    }
    import psycopg

    with psycopg.connect(desk.server.owner_dsn, autocommit=True) as conn:
        conn.execute("create schema if not exists bench")
        conn.execute("set search_path to bench")
        conn.execute("drop table if exists bench_entries, bench_accounts")
        conn.execute("create table bench_accounts (id int primary key, balance bigint not null)"
                     " with (fillfactor = 70)")
        conn.execute("create table bench_entries (id bigserial primary key, a int, b int,"
                     " amount bigint)")
        conn.execute("insert into bench_accounts select g, 0 from generate_series(1, %s) g",
                     (ACCOUNTS,))
        conn.execute("vacuum analyze bench_accounts")
    environ["PGOPTIONS"] = "-c search_path=bench"
    script = _SCRIPT.format(accounts=ACCOUNTS)
    if hot:
        script = script.replace(f"\\set a random(1, {ACCOUNTS})", "\\set a 1")
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [str(embedded.find_binaries("auto").bindir / "pgbench"), "-n", "-M", "prepared",
             "-c", "8", "-j", "2", "-T", str(seconds), "-f", file.name],
            env=environ, capture_output=True, text=True, check=True,
        )
    found = re.search(r"tps = ([0-9.]+)", done.stdout)
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the sorted list lies; 0 for an empty list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def many_customers(env: Env, external_ids: Sequence[str]) -> list[UUID]:
    """Customers by the application's ids, made where they are absent."""
    with ThreadPoolExecutor(8) as pool:
        return [c.uuid for c in pool.map(lambda ref: customers.ensure(env, ref), external_ids)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_json(rows: list[Row], path: str) -> None:
    """One JSON object a line: name, per_s, p50_ms, p99_ms, pgbench_per_s, ratio and notes."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(asdict(row)) + "\n")
