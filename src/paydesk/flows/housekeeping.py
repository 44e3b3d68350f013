"""What may be forgotten: answers kept for repeats, past windows of limits, void tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from paydesk.flows import staff

if TYPE_CHECKING:
    from paydesk.env import Env

#: How long the counts of a past window are kept.
KEEP_WINDOWS = timedelta(hours=1)


def forget(env: Env, limit: int = 1000) -> int:
    """Delete up to `limit` rows of each kind that no one needs any more. Answers how many."""
    now = env.now()
    gone = 0
    with env.db.transaction() as tx:
        gone += tx.run(
            "delete from answers where (customer_id, request_key) in (select customer_id,"
            " request_key from answers where expires_at < %(now)s limit %(limit)s)",
            {"now": now, "limit": limit},
        )
    with env.db.transaction() as tx:
        gone += tx.run(
            "delete from rate_windows where (bucket, window_at) in (select bucket, window_at"
            " from rate_windows where window_at < %(before)s limit %(limit)s)",
            {"before": now - KEEP_WINDOWS, "limit": limit},
        )
    with env.db.transaction() as tx:
        gone += tx.run(
            "delete from revoked_tokens where jti in (select jti from revoked_tokens"
            " where expires_at < %(now)s limit %(limit)s)",
            {"now": now, "limit": limit},
        )
    return gone + staff.forget_old(env, limit)
