"""The small catalogue of the sandbox: packs, items, a service, plans and codes to try with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paydesk.flows import catalog, items, plans, promos
from paydesk.rules.money import EUR, USD

if TYPE_CHECKING:
    from paydesk.env import Env


def load(env: Env, *, trials: bool = True) -> None:
    """Make what is not there yet; what somebody changed stays as it is. Without `trials` each plan
    charges from its first day, unless a code gives one."""
    known = {pack.key for pack in catalog.list_packs(env, include_inactive=True)}
    packs = [
        ("starter", "Starter Pack", 50, USD("4.99"), 180),
        ("creator", "Creator Pack", 150, USD("9.99"), 365),
        ("studio", "Studio Pack", 1_000, USD("49.00"), 365),
        ("atelier", "Atelier Pack", 500, EUR("24.50"), 365),
    ]
    for position, (key, name, credits, price, days) in enumerate(packs):
        if key not in known:
            catalog.upsert_pack(env, key, name=name, credits=credits, price=price,
                                expires_days=days, position=position)  # fmt: skip
    _load_items(env)
    _load_plans(env, trial_days=14 if trials else 0)
    codes = {promo.code for promo in promos.list_promos(env, include_inactive=True)}
    if "WELCOME10" not in codes:
        promos.upsert_promo(env, "WELCOME10", percent_off=10)
    if "FIRST5" not in codes:
        promos.upsert_promo(env, "FIRST5", amount_off=USD("5.00"), first_purchase=True,
                            min_purchase=USD("20.00"))  # fmt: skip
    if "EXTRA25" not in codes:
        promos.upsert_promo(env, "EXTRA25", bonus_credits=25, packs=["studio"], per_customer=1)
    if "TRY30" not in codes:
        promos.upsert_promo(env, "TRY30", free_trial_days=30, plans=["pro"], per_customer=1)


def _load_items(env: Env) -> None:
    """A course with a price for students, a lab that is bought again, and the membership."""
    known = {item.key for item in items.list_(env, include_inactive=True)}
    if "python-course" not in known:
        items.upsert(
            env, "python-course", name="Python from Nothing", price=USD("49.99"),
            grants=["course:python"],
            rules=[{"name": "Students", "customer": {"segment": "student"}, "percent_off": 20}],
        )  # fmt: skip
    if "gpu-lab" not in known:
        items.upsert(env, "gpu-lab", name="GPU Lab, 30 days", price=USD("19.00"), position=1,
                     repeatable=True, access_days=30, grants=["lab:gpu"])  # fmt: skip
    if env.settings.premium_membership_item not in known:
        items.upsert(env, env.settings.premium_membership_item, name="Premium Membership",
                     price=USD("549.99"), kind="service", duration_months=6, position=2)


def _load_plans(env: Env, *, trial_days: int) -> None:
    """A plan by the month and by the year, one with seats, and a membership with credits."""
    known = {plan.key for plan in plans.list_(env, include_inactive=True)}
    if "pro" not in known:
        plans.upsert(env, "pro", name="Pro", prices=[USD("19.99"), EUR("18.49")],
                     trial_days=trial_days, grants=["course:*", "lab:*"])  # fmt: skip
    if "pro-yearly" not in known:
        plans.upsert(env, "pro-yearly", name="Pro, by the Year", price=USD("199.00"), position=1,
                     interval="year", grants=["course:*", "lab:*"])  # fmt: skip
    if "team" not in known:
        plans.upsert(env, "team", name="Team", price=USD("14.50"), position=2, least_quantity=3,
                     most_quantity=50)  # fmt: skip
    if "gold" not in known:
        plans.upsert(
            env, "gold", name="Gold Membership", kind="membership", price=USD("29.00"),
            position=3, credits=300, credits_rollover="capped", credits_cap=900,
            grants=["lounge"],
        )  # fmt: skip
