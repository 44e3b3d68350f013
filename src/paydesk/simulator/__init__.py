"""A Stripe that runs on this machine: API, hosted checkout page, webhooks and trouble at will."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """The command line of the simulator; see `paydesk simulator --help`."""
    from .cli import main as run

    return run(argv)
