"""Payments tracked from checkout to credit, on any database: the names an application uses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from .base import PaymentProvider
from .config import OVERRIDES, TrackerSettings, load_settings
from .exceptions import (
    AlreadyCredited,
    AmountMismatch,
    AmountTooLarge,
    ConfigError,
    DuplicatePayment,
    IllegalTransition,
    NotPaid,
    PaymentNotFound,
    PaymentTrackerError,
    RecoveryDisabled,
    RefundTooLarge,
    SingleWriterWarning,
    StoreLacks,
    UnknownStore,
    VerificationExhausted,
    VersionConflict,
)
from .migrations import MIGRATION, migration_sql
from .models import (
    STATUS_OF,
    TRANSITIONS,
    CheckoutSession,
    PaymentPage,
    PaymentRecord,
    PaymentStatistics,
    ProviderReport,
    StatusChange,
    Verification,
)
from .stores import PaymentStore, make_store, register_store
from .tracker import PaymentTracker


def get_payment_tracker(
    store_type: str = "supabase",
    *,
    store: PaymentStore | None = None,
    config_path: str | Path | None = None,
    clock: Callable[[], datetime] | None = None,
    **options: Any,
) -> PaymentTracker:
    """A tracker over a registered kind of store, or over a store of your own.

    `options` are settings (`session_expiry_minutes=30`, see config.OVERRIDES) and whatever the
    store needs: `supabase_client=`, `path=` for sqlite, `dsn=`, `pool=` or `connection=` for
    postgres. Raises UnknownStore or ConfigError.
    """
    overrides = {name: options.pop(name) for name in list(options) if name in OVERRIDES}
    settings = load_settings(config_path, **overrides)
    if store is None:
        store = make_store(store_type, **options)
    elif options:
        raise ConfigError(f"not understood beside store=: {', '.join(sorted(options))}")
    return PaymentTracker(store, settings=settings, clock=clock)


__all__ = [
    "MIGRATION",
    "STATUS_OF",
    "TRANSITIONS",
    "AlreadyCredited",
    "AmountMismatch",
    "AmountTooLarge",
    "CheckoutSession",
    "ConfigError",
    "DuplicatePayment",
    "IllegalTransition",
    "NotPaid",
    "PaymentNotFound",
    "PaymentPage",
    "PaymentProvider",
    "PaymentRecord",
    "PaymentStatistics",
    "PaymentStore",
    "PaymentTracker",
    "PaymentTrackerError",
    "ProviderReport",
    "RecoveryDisabled",
    "RefundTooLarge",
    "SingleWriterWarning",
    "StatusChange",
    "StoreLacks",
    "TrackerSettings",
    "UnknownStore",
    "Verification",
    "VerificationExhausted",
    "VersionConflict",
    "get_payment_tracker",
    "load_settings",
    "make_store",
    "migration_sql",
    "register_store",
]
