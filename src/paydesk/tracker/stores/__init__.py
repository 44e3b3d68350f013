"""Where payments are kept: the stores that come along, and the register for more."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..exceptions import ConfigError, UnknownStore
from .base import PaymentStore

StoreFactory = Callable[..., PaymentStore]

#: Kinds that come along, loaded when asked for: none needs another's driver.
BUILT_IN: dict[str, tuple[str, str]] = {
    "memory": ("memory", "MemoryPaymentStore"),
    "sqlite": ("sqlite", "SQLitePaymentStore"),
    "postgres": ("postgres", "PostgresPaymentStore"),
    "supabase": ("supabase", "SupabasePaymentStore"),
    "firestore": ("firestore", "FirestorePaymentStore"),
}

_registered: dict[str, StoreFactory] = {}


def register_store(name: str, factory: StoreFactory) -> None:
    """Make `get_payment_tracker(store_type=name, **options)` call `factory(**options)`.

    A name registered again is replaced; a built-in kind may be replaced too.
    """
    _registered[name] = factory


def make_store(store_type: str, **options: Any) -> PaymentStore:
    """A store of a registered kind. Raises UnknownStore, or ConfigError for wrong options."""
    factory = _registered.get(store_type) or _built_in(store_type)
    try:
        return factory(**options)
    except TypeError as exc:
        raise ConfigError(f"store {store_type!r}: {exc}") from exc


def _built_in(store_type: str) -> StoreFactory:
    if store_type not in BUILT_IN:
        known = ", ".join(sorted(BUILT_IN.keys() | _registered.keys()))
        raise UnknownStore(f"no store {store_type!r}; known are {known}")
    module, name = BUILT_IN[store_type]
    return getattr(import_module(f".{module}", __package__), name)


__all__ = ["PaymentStore", "make_store", "register_store"]
