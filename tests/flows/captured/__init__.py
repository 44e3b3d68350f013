"""Stripe's subscriptions and invoices as its accounts were sent them; see README.md."""
