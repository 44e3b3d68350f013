"""Lists reach PostgreSQL as the arrays that the driver itself would make of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

TEXTS = ["", "null", "NULL", "a b", 'say "x"', "back\\slash", '\\"', "{1,2}", "a,b", "été\n\t",
         "'", " ends ", "😀", "%s"]  # fmt: skip
INSTANTS = [datetime(2026, 11, 22, 1, 2, 3, 4, UTC), datetime(1999, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-5)))]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("select %(values)s::uuid[]", [uuid4(), None, uuid4()]),
        ("select %(values)s::text[]", [*TEXTS, None]),
        ("select %(values)s::bigint[]", [0, -1, 2**62, None]),
        ("select %(values)s::boolean[]", [True, None, False]),
        ("select %(values)s::timestamptz[]", [*INSTANTS, None]),
        ("select %(values)s::jsonb[]",
         [Jsonb({"a": [1, 'x"y\\', None, {"ü": True}]}), None, Jsonb([]), Jsonb("t")]),
        ("select %(values)s::numeric[]", [Decimal("1.10"), None]),
        ("select %(values)s::bytea[]", [b"\x00\xff\\", None]),
        ("select %(values)s::text[]", []),
        ("select %(values)s::text[]", [None, None]),
        ("select %(values)s::int[]", [[1, 2], [3, 4]]),
    ],
)  # fmt: skip
def test_a_list_arrives_as_it_is(db, sql, values):
    with db.read() as tx:
        got = tx.value(sql, {"values": values})
    assert got == [one.obj if isinstance(one, Jsonb) else one for one in values]
