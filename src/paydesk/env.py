"""Env: everything with side effects, in one frozen set that flows are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk.clock import Clock
from paydesk.settings import Settings

if TYPE_CHECKING:
    from paydesk.cache import Cache
    from paydesk.db.group_commit import Lanes
    from paydesk.db.postgres import Database
    from paydesk.providers.base import Providers


@dataclass(slots=True)
class Hooks:
    """What the application decides itself, set by the library's front.

    `price_item` is asked what an item costs (flows/items.py says how; a setting names it
    elsewhere). `clock_id`: the clock that new customers stand on, in tests.
    """

    price_item: Callable[..., Any] | None = None
    clock_id: UUID | None = None


@dataclass(frozen=True)
class Env:
    """The database, the group-commit lanes, providers, cache, settings, the clock, and what the
    application decides itself."""

    db: Database
    lanes: Lanes
    providers: Providers
    cache: Cache
    settings: Settings
    clock: Clock
    owned: tuple[Any, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)

    def now(self) -> datetime:
        """The present, aware and in UTC, from the one clock."""
        return self.clock.now()

    def close(self) -> None:
        """Stop lanes (drained), then everything this environment started, last first."""
        self.lanes.close()
        for thing in reversed(self.owned):
            thing.close()
        self.db.close()
