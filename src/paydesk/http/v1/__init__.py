"""The v1 API: a file for each resource, every route one call into flows and a shape."""

from __future__ import annotations

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """Every router of v1."""
    from paydesk.http.v1.access import access_v1
    from paydesk.http.v1.audit import audit_v1
    from paydesk.http.v1.catalog import customers_v1, packs_v1
    from paydesk.http.v1.catalog_sync import catalog_v1
    from paydesk.http.v1.checkouts import checkouts_v1
    from paydesk.http.v1.clocks import clocks_v1
    from paydesk.http.v1.credit_notes import credit_notes_v1
    from paydesk.http.v1.credits import credits_v1
    from paydesk.http.v1.disputes import disputes_v1
    from paydesk.http.v1.events import events_v1
    from paydesk.http.v1.holds import holds_v1
    from paydesk.http.v1.invoices import invoices_v1
    from paydesk.http.v1.items import items_v1
    from paydesk.http.v1.keys import keys_v1
    from paydesk.http.v1.notifications import notifications_v1
    from paydesk.http.v1.payment_edits import payment_edits_v1
    from paydesk.http.v1.payment_methods import payment_methods_v1
    from paydesk.http.v1.payments import payments_v1
    from paydesk.http.v1.plans import plans_v1
    from paydesk.http.v1.promos import promos_v1
    from paydesk.http.v1.purchases import purchases_v1, services_v1
    from paydesk.http.v1.rates import rates_v1
    from paydesk.http.v1.receipts import receipts_v1
    from paydesk.http.v1.reconciliations import reconciliations_v1
    from paydesk.http.v1.refills import refills_v1
    from paydesk.http.v1.refunds import refunds_v1
    from paydesk.http.v1.reports import reports_v1
    from paydesk.http.v1.risk import risk_v1
    from paydesk.http.v1.staff import staff_v1
    from paydesk.http.v1.statements import statements_v1
    from paydesk.http.v1.subscriptions import subscriptions_v1
    from paydesk.http.v1.tax_rates import tax_rates_v1
    from paydesk.http.v1.wallets import wallets_v1
    from paydesk.http.v1.webhook_endpoints import webhook_endpoints_v1
    from paydesk.http.v1.withdrawals import withdrawals_v1

    return [
        checkouts_v1, payments_v1, payment_edits_v1, payment_methods_v1, credits_v1, customers_v1,
        clocks_v1,
        packs_v1, promos_v1, events_v1, keys_v1, audit_v1, staff_v1, risk_v1, statements_v1,
        webhook_endpoints_v1, notifications_v1, receipts_v1, items_v1, purchases_v1, services_v1,
        access_v1, wallets_v1, withdrawals_v1, rates_v1, holds_v1, refunds_v1, disputes_v1,
        reports_v1, reconciliations_v1, catalog_v1, plans_v1, tax_rates_v1,
        invoices_v1, credit_notes_v1, refills_v1, subscriptions_v1,
    ]  # fmt: skip
