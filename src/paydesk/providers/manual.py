"""Cash at a distributor, and bank transfers: a reference, and a person who says that it came."""

from __future__ import annotations

from paydesk.providers.base import provider
from paydesk.providers.offline import Offline


@provider("manual")
class Manual(Offline):
    """Cash through distributors, and bank transfers with a reference."""

    title, means = "Cash or transfer", ("Cash or bank transfer", "receipt")

    def instructions(self) -> str:
        return self.settings.manual_instructions
