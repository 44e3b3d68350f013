"""Plans that the database keeps for postings, made while a table was still empty."""

from __future__ import annotations

from itertools import islice, product
from string import ascii_lowercase

import psycopg

from paydesk import ids
from paydesk.flows import ledger
from paydesk.flows.ledger import Entry

SEEN = "select idx_tup_fetch from pg_stat_xact_user_tables where relname = 'accounts'"


def entries(user, now, assets):
    return [
        Entry(
            customer_id=user, debit="clearing", credit="deposits", asset=asset, amount=999,
            reason="capture", txn_id=ids.new_owned(user), effective_at=now,
        )
        for asset in assets
    ]  # fmt: skip


def test_a_posting_reads_its_own_accounts_alone_however_many_there_are(
    env, make, database
):  # I2
    user, now = make.user().uuid, env.now()
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        owner.execute("vacuum (analyze) accounts")  # It is known to be empty: so it is planned for.
    assets = ("".join(one) for one in product(ascii_lowercase, repeat=3))
    with env.db.transaction(user) as tx:
        ledger.post(tx, entries(user, now, islice(assets, 1_000)))
        before = tx.value(SEEN)
        ledger.post(tx, entries(user, now, islice(assets, 50)))
        read = tx.value(SEEN) - before
    assert read < 1_000, "an account is found by its key: the 2,000 others are not read"
