"""Puts an environment together, and in the sandbox starts what is missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from paydesk import children, providers
from paydesk.cache import Cache
from paydesk.clock import Clock, SystemClock
from paydesk.db import embedded, migrate
from paydesk.db.group_commit import Lanes
from paydesk.db.postgres import Database
from paydesk.env import Env
from paydesk.errors import Misconfigured, PaydeskError
from paydesk.flows import credits, events, inbox
from paydesk.logger import get_logger
from paydesk.notify import brand
from paydesk.settings import Settings

log = get_logger(__name__)

_MEASURE_EVERY_S = 60.0
#: Modules whose import makes their kinds of work known to the lanes.
_LANE_KINDS = (credits, inbox)


class _Owned:
    """Something of ours that is let go by this call."""

    def __init__(self, thing: Any, close: Callable[[], Any]) -> None:
        self.thing = thing
        self.close = close


def build_env(
    settings: Settings,
    *,
    start_missing: bool = True,
    clock: Clock | None = None,
    name: str = "paydesk",
) -> Env:
    """Everything that flows need, from these settings. `Env.close()` ends what was started.

    With `start_missing` a missing database is the embedded one under `data_dir`, the schema is
    brought up to date, and without a Stripe key the simulator runs beside us. Without it nothing
    is started: raises Misconfigured where no database is named, or for a color or logo that mails
    and receipts cannot show.
    """
    owned: list[Any] = []
    brand.check(settings)
    try:
        if start_missing:
            settings = _start_missing(settings, owned)
        if not settings.database_url:
            raise Misconfigured("DATABASE_URL is not set.", param="DATABASE_URL")
        db = Database(settings.database_url, max_size=settings.pool_size, name=name)
        clock = clock or _measured(db, owned)
        cache = Cache(settings.redis_url)
        offered = providers.load(settings)
        owned += [cache, offered]
        env = Env(
            db=db,
            lanes=Lanes(db, settings, clock),
            providers=offered,
            cache=cache,
            settings=settings,
            clock=clock,
            owned=tuple(owned),
        )
        db.forget = lambda keys: events.forget(env, *keys)
        return env
    except BaseException:
        for thing in reversed(owned):
            thing.close()
        raise


def _start_missing(settings: Settings, owned: list[Any]) -> Settings:
    """The settings with the addresses of what was started, which is added to `owned`."""
    folder = Path(settings.data_dir).absolute()
    if not settings.database_url:
        server = embedded.start(folder)
        owned.append(_Owned(server, server.stop))
        migrate.migrate(server.owner_dsn)
        settings = replace(settings, database_url=server.dsn)
    elif not migrate.status(settings.database_url).is_current:
        migrate.migrate(settings.database_url)
    if settings.simulated and not settings.simulator_url:
        simulator = children.start_simulator(folder, merchant=settings.business_name)
        owned.append(simulator)
        settings = replace(settings, simulator_url=simulator.url)
    return settings


def _measured(db: Database, owned: list[Any]) -> SystemClock:
    """The system's clock, set by the database's now and each minute."""
    clock, stop = SystemClock(measure_every_s=0.0), threading.Event()

    def measure() -> None:
        with db.read() as tx:
            clock.measure(lambda: tx.value("select clock_timestamp()"))

    def repeat() -> None:
        while not stop.wait(_MEASURE_EVERY_S):
            try:
                measure()
            except (PaydeskError, psycopg.Error) as exc:
                log.warning("the clock was not measured", error=str(exc))

    measure()
    thread = threading.Thread(target=repeat, name="paydesk-clock", daemon=True)
    thread.start()
    owned.append(_Owned(thread, stop.set))
    return clock
