"""Rate limits: exact counts of a window over all processes, told in the RateLimit fields.

Windows are fixed: `window_s` seconds from a common start. Every request is counted before it is
answered, in PostgreSQL (`rate_windows`) or Redis, in groups: what arrives while a statement is in
flight is counted by the next one. So no process ever guesses, and no quota lies unused elsewhere.
When Redis fails, PostgreSQL counts. When nothing counts, reads pass and writes are refused.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from paydesk.errors import PaydeskError, RateLimited, Unavailable
from paydesk.http.auth import Principal
from paydesk.http.batches import Batcher

if TYPE_CHECKING:
    from paydesk.env import Env

#: How much more a server may ask than a customer.
SERVER_FACTOR = 10
#: What share of the quota goes to addresses where codes or sessions could be guessed.
GUESS_SHARE = 10
#: Here a wrong guess costs nothing, so fewer are allowed.
GUESSABLE = frozenset(
    {
        "/v1/promos/validate",
        "/v1/promos/apply",
        "/payment/promo-codes/validate",
        "/payment/promo-codes/apply",
        "/api/credits/verify-payment",
    }
)
#: Here a password or a refresh token could be guessed.
SIGN_IN = frozenset(
    {"/v1/sessions", "/v1/tokens/refresh", "/v1/tokens/end", "/dashboard/sign-in"}
)
#: Below these, writes move money or promise to.
MONEY_PREFIXES = (
    "/v1/checkouts", "/v1/payments", "/v1/refunds", "/v1/wallets", "/v1/withdrawals",
    "/v1/conversions", "/v1/setups", "/v1/payment_methods", "/v1/purchases", "/v1/services",
    "/v1/disputes", "/payments", "/payment/credit-packs", "/payment/memberships",
    "/api/credits/checkout", "/api/purchases", "/api/payments", "/api/v1/customers/services",
)  # fmt: skip
READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: How much more may come from one address than from one customer: offices share theirs.
ADDRESS_FACTOR = 20
#: Signed by their senders, asked by machines that watch over us, or files: never limited.
EXEMPT_PREFIXES = ("/health", "/api/health", "/v1/webhooks/", "/assets/")
EXEMPT = frozenset(
    {
        "/api/credits/webhook", "/payment/webhooks/stripe", "/api/webhooks/stripe",
        "/payments/stripe/webhook", "/metrics",
    }
)
REDIS_REST_S = 5.0


@dataclass(frozen=True, slots=True)
class Quota:
    """`allowed` requests in `window_s` seconds for whoever `bucket` names."""

    policy: str
    bucket: str
    allowed: int
    window_s: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of a quota after this request; less than 0 when it is one too many."""

    quota: Quota
    left: int
    resets_in_s: int


class Limiter:
    """Counts requests against quotas; one per process."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._batcher = Batcher[Sequence[tuple[str, datetime]], list[int]]("limits", self._count)
        #: Buckets that were full when last counted -> the end of that window.
        self._full: dict[str, float] = {}
        self._redis = _redis(env.settings.redis_url)
        self._redis_rests_until = 0.0

    async def take(self, quotas: Sequence[Quota]) -> list[Standing]:
        """Count one request against each quota. Raises Unavailable when nothing can count."""
        now = self._env.now().timestamp()
        ends = [(now // q.window_s + 1) * q.window_s for q in quotas]
        full = [self._full.get(q.bucket, 0.0) >= end for q, end in zip(quotas, ends, strict=True)]
        if any(full):
            used = [q.allowed + 1 if f else 0 for q, f in zip(quotas, full, strict=True)]
        else:
            wanted = [
                (q.bucket, datetime.fromtimestamp(end - q.window_s, UTC))
                for q, end in zip(quotas, ends, strict=True)
            ]
            used = await self._ask(wanted)
        self._remember_full(quotas, ends, used)
        return [
            Standing(q, q.allowed - u, max(1, math.ceil(end - now)))
            for q, u, end in zip(quotas, used, ends, strict=True)
        ]

    def close(self) -> None:
        self._batcher.close()

    async def _ask(self, wanted: list[tuple[str, datetime]]) -> list[int]:
        try:
            return await self._batcher.ask(wanted)
        except TimeoutError:
            raise Unavailable("Requests cannot be counted right now.", retry_after_s=2) from None

    def _remember_full(
        self, quotas: Sequence[Quota], ends: Sequence[float], used: Sequence[int]
    ) -> None:
        for quota, end, count in zip(quotas, ends, used, strict=True):
            if count > quota.allowed:
                if len(self._full) > 10_000:
                    self._full.clear()
                self._full[quota.bucket] = end

    def _count(self, group: Sequence[Sequence[tuple[str, datetime]]]) -> list[list[int]]:
        """Each request's place in its windows, counted from 1."""
        totals: dict[tuple[str, datetime], int] = {}
        for request in group:
            for key in request:
                totals[key] = totals.get(key, 0) + 1
        after = self._add(totals)
        place = {key: after[key] - count for key, count in totals.items()}
        places: list[list[int]] = []
        for request in group:
            mine = []
            for key in request:
                place[key] += 1
                mine.append(place[key])
            places.append(mine)
        return places

    def _add(self, totals: dict[tuple[str, datetime], int]) -> dict[tuple[str, datetime], int]:
        if self._redis is not None and time.monotonic() >= self._redis_rests_until:
            try:
                return self._add_in_redis(totals)
            except _redis_errors():
                self._redis_rests_until = time.monotonic() + REDIS_REST_S
        return self._add_in_postgres(totals)

    def _add_in_redis(self, totals: dict[tuple[str, datetime], int]) -> dict[Any, int]:
        pipe = self._redis.pipeline(transaction=False)
        for (bucket, window), count in totals.items():
            name = f"paydesk:rate:{bucket}:{int(window.timestamp())}"
            pipe.incrby(name, count)
            pipe.expire(name, 7200)
        return dict(zip(totals, pipe.execute()[::2], strict=True))

    def _add_in_postgres(self, totals: dict[tuple[str, datetime], int]) -> dict[Any, int]:
        """A lost count after a power cut harms nobody, so the commit does not wait for the disk."""
        with self._env.db.read() as tx:
            rows = tx.all(
                "insert into rate_windows (bucket, window_at, used)"
                " select w.bucket, w.window_at, w.used from unnest(%(buckets)s::text[],"
                " %(windows)s::timestamptz[], %(counts)s::bigint[]) as w(bucket, window_at, used),"
                " (select set_config('synchronous_commit', 'off', true)) as quick"
                " order by w.bucket, w.window_at"
                " on conflict (bucket, window_at)"
                " do update set used = rate_windows.used + excluded.used"
                " returning bucket, window_at, used",
                {
                    "buckets": [bucket for bucket, _ in totals],
                    "windows": [window for _, window in totals],
                    "counts": list(totals.values()),
                },
            )
        return {(row["bucket"], row["window_at"]): row["used"] for row in rows}


def quotas_for(
    env: Env, who: Principal | None, address: str, path: str, method: str = "GET"
) -> list[Quota]:
    """What a request is counted against: its caller, or its address when it names none, the
    address of a customer too, and the family of the route.

    Families: `lookup` where codes could be guessed, `sign_in` where passwords could be, `money`
    for writes that move money.
    """
    if path.startswith(EXEMPT_PREFIXES) or path in EXEMPT:
        return []
    settings = env.settings
    allowed, window_s = settings.rate_limit, settings.rate_window_s
    network = network_of(address)
    from_address = f"a:{network}"
    if who is None:
        found = [Quota("address", from_address, allowed, window_s)]
    elif who.is_customer:
        all_of_address = allowed * ADDRESS_FACTOR
        found = [Quota("default", f"c:{who.caller}", allowed, window_s),
                 Quota("address", f"o:{network}", all_of_address, window_s)]  # fmt: skip
    else:
        found = [Quota("server", f"s:{who.caller}", allowed * SERVER_FACTOR, window_s)]
    first = found[0]
    if path in GUESSABLE:
        share = max(1, first.allowed // GUESS_SHARE)
        found.append(Quota("lookup", f"l:{first.bucket}", share, window_s))
    if path in SIGN_IN and method not in READS:
        found.append(Quota("sign_in", f"i:{from_address}", settings.rate_limit_sign_in, window_s))
    elif method not in READS and path.startswith(MONEY_PREFIXES):
        factor = SERVER_FACTOR if first.policy == "server" else 1
        most = settings.rate_limit_money * factor
        found.append(Quota("money", f"m:{first.bucket}", most, window_s))
    return found


def network_of(address: str) -> str:
    """Whom an address is counted as: of IPv6 the network of 64 bits that a household gets, which
    has more addresses than anybody could count."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:255]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))


def refusal(standings: Sequence[Standing]) -> PaydeskError | None:
    """The problem to answer with when a quota is used up."""
    over = [s for s in standings if s.left < 0]
    if not over:
        return None
    worst = max(over, key=lambda s: s.resets_in_s)
    return RateLimited(
        f"At most {worst.quota.allowed} requests in {worst.quota.window_s} s;"
        f" the next may come in {worst.resets_in_s} s.",
        retry_after_s=worst.resets_in_s,
        **{"violated-policies": [s.quota.policy for s in over]},
    )


def fields(standings: Sequence[Standing]) -> list[tuple[bytes, bytes]]:
    """The RateLimit and RateLimit-Policy fields (draft-ietf-httpapi-ratelimit-headers)."""
    if not standings:
        return []
    left = ", ".join(f'"{s.quota.policy}";r={max(0, s.left)};t={s.resets_in_s}' for s in standings)
    policy = ", ".join(
        f'"{s.quota.policy}";q={s.quota.allowed};w={s.quota.window_s}' for s in standings
    )
    return [(b"ratelimit", left.encode()), (b"ratelimit-policy", policy.encode())]


def _redis(url: str) -> Any:
    if not url:
        return None
    import redis

    return redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5)


def _redis_errors() -> tuple[type[Exception], ...]:
    import redis

    return (redis.RedisError, OSError)
