"""NatCash of Natcom Haiti, by an agent's reference: no interface of it is published."""

from __future__ import annotations

from paydesk.providers.base import provider
from paydesk.providers.offline import Offline
from paydesk.settings import Settings


@provider("natcash")
class NatCash(Offline):
    """The payer sends the money to the business's number and tells the agent's. Gourdes only."""

    title, means = "NatCash", ("NatCash account", "coins")
    currencies = frozenset({"htg"})

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.natcash_number)

    def instructions(self) -> str:
        return f"Send the amount by NatCash to {self.settings.natcash_number}."
