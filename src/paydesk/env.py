"""Env: everything with side effects, in one frozen set that flows are given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paydesk.clock import Clock
from paydesk.settings import Settings

if TYPE_CHECKING:
    from paydesk.cache import Cache
    from paydesk.db.group_commit import Lanes
    from paydesk.db.postgres import Database
    from paydesk.providers.base import Providers


@dataclass(frozen=True)
class Env:
    """The database, the group-commit lanes, providers, cache, settings and the clock."""

    db: Database
    lanes: Lanes
    providers: Providers
    cache: Cache
    settings: Settings
    clock: Clock
    owned: tuple[Any, ...] = ()

    def now(self) -> datetime:
        """The present, aware and in UTC, from the one clock."""
        return self.clock.now()

    def close(self) -> None:
        """Stop lanes (drained), then everything this environment started, last first."""
        self.lanes.close()
        for thing in reversed(self.owned):
            thing.close()
        self.db.close()
