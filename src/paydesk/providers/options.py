"""A provider's own settings: `PAYDESK_PROVIDER_OPTIONS`, JSON by provider and name."""

from __future__ import annotations

import json
from typing import Any

from paydesk.errors import Misconfigured
from paydesk.settings import Settings


class ProviderSettings:
    """Paydesk's settings with the provider's own in front: `settings.base`.

    `base` and `webhook_secret`, which the helpers of a provider read, are empty where nothing is
    told. Raises Misconfigured for any other name that nobody told.
    """

    def __init__(self, settings: Settings, name: str, options: dict[str, Any]) -> None:
        self._settings = settings
        self._name = name
        self._options = options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._options:
            return self._options[name]
        if hasattr(self._settings, name):
            return getattr(self._settings, name)
        if name in ("base", "webhook_secret"):
            return ""
        raise Misconfigured(
            f"The provider {self._name!r} needs {name!r}: set it in PAYDESK_PROVIDER_OPTIONS.",
            param="PAYDESK_PROVIDER_OPTIONS",
        )

    def __repr__(self) -> str:
        return f"<settings of {self._name}>"


def provider_settings(settings: Settings, name: str) -> ProviderSettings:
    """The settings as this provider sees them. Raises Misconfigured for options that are no JSON
    of the form `{"teller": {"base": "https://…"}}`."""
    found: Any = {}
    if settings.provider_options:
        try:
            found = json.loads(settings.provider_options)
        except ValueError:
            found = None
    options = found.get(name, {}) if isinstance(found, dict) else None
    if not isinstance(options, dict):
        raise Misconfigured(
            "PAYDESK_PROVIDER_OPTIONS must be JSON of the form"
            ' {"provider": {"base": "https://…"}}.',
            param="PAYDESK_PROVIDER_OPTIONS",
        )
    return ProviderSettings(settings, name, options)
