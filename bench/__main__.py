"""`./run bench`: runs the benchmarks, prints a table, writes JSON lines with `--json FILE`.

`./run bench figures --payments N` makes a history of N payments and times the reports;
`./run bench renewals --count N` renews N subscriptions that are due at once."""

from __future__ import annotations

import argparse
import platform
import sys
import time

from bench import figures, harness, http, purchases, renewals, spending

CASES = {
    "spend": spending.futures,
    "two-processes": spending.two_processes,
    "hot": spending.hot,
    "threads": spending.threads,
    "bulk": spending.bulk,
    "batches": spending.batches,
    "many-batches": spending.many_batches,
    "webhooks": purchases.webhooks,
    "purchase": purchases.whole,
    "http": http.spend,
}
LARGE = {"large": spending.large}


def main() -> None:
    if sys.argv[1:2] == ["figures"]:
        figures.main(sys.argv[2:])
        return
    if sys.argv[1:2] == ["renewals"]:
        renewals.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a row")
    parser.add_argument("--only", action="append", choices=[*CASES, *LARGE], help="these alone")
    parser.add_argument("--large", action="store_true", help="also the ten-million-row ones")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each figure")
    told = parser.parse_args()
    start = time.perf_counter()
    cases = {**CASES, **(LARGE if told.large or "large" in (told.only or []) else {})}
    with harness.desk() as desk:
        print(f"Python {platform.python_version()}, PostgreSQL {desk.server.version}, fsync on")
        desk.pgbench_per_s = harness.pgbench(desk)
        desk.report(harness.Row("pgbench -M prepared -c 8, distinct", desk.pgbench_per_s))
        desk.pgbench_hot_per_s = harness.pgbench(desk, hot=True)
        desk.report(harness.Row("pgbench -M prepared -c 8, one hot account",
                                desk.pgbench_hot_per_s))
        for name, case in cases.items():
            if not told.only or name in told.only:
                case(desk, told.seconds)
        again = harness.pgbench(desk)
        desk.report(harness.Row("pgbench again at the end", again))
        if told.json:
            harness.write_json(desk.rows, told.json)
    print(f"{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
