"""The documents' own addresses, words and shapes; every route one call into flows and a shape."""

from __future__ import annotations

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """Every router of the compatibility families."""
    from paydesk.http.compat.bookings import bookings
    from paydesk.http.compat.bookings_memberships import bookings_memberships
    from paydesk.http.compat.credits import credits
    from paydesk.http.compat.learning import learning
    from paydesk.http.compat.learning_methods import learning_methods
    from paydesk.http.compat.learning_subscriptions import learning_subscriptions
    from paydesk.http.compat.plans import compat_memberships, compat_plans
    from paydesk.http.compat.services import services
    from paydesk.http.compat.wallets import wallets
    from paydesk.http.compat.wallets_analytics import wallets_analytics

    return [
        credits, bookings, compat_memberships, bookings_memberships, learning, learning_methods,
        compat_plans, learning_subscriptions, services,
        wallets_analytics, wallets,
    ]  # fmt: skip
