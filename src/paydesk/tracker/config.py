"""The tracker's settings: config.yaml beside this file, then a file of yours, then arguments."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .exceptions import ConfigError

DEFAULTS = Path(__file__).with_name("config.yaml")

#: Argument names, and the section and key that each overrides.
OVERRIDES: dict[str, tuple[str, str]] = {
    "session_expiry_minutes": ("payment_tracking", "session_expiry_minutes"),
    "check_duplicates_before_credit": ("payment_tracking", "check_duplicates_before_credit"),
    "claim_lease_seconds": ("payment_tracking", "claim_lease_seconds"),
    "keep_status_history": ("payment_tracking", "keep_status_history"),
    "recovery_enabled": ("recovery", "enabled"),
    "auto_verify_on_success_page": ("recovery", "auto_verify_on_success_page"),
    "max_verification_attempts": ("recovery", "max_verification_attempts"),
}

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Switch = Annotated[bool, Field(strict=True)]


class TrackingSettings(BaseModel):
    """Section `payment_tracking`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session_expiry_minutes: Count
    check_duplicates_before_credit: Switch
    claim_lease_seconds: Count
    keep_status_history: Switch


class RecoverySettings(BaseModel):
    """Section `recovery`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: Switch
    auto_verify_on_success_page: Switch
    max_verification_attempts: Count


class TrackerSettings(BaseModel):
    """All settings of a tracker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_tracking: TrackingSettings
    recovery: RecoverySettings


def load_settings(path: str | Path | None = None, **overrides: Any) -> TrackerSettings:
    """The shipped settings, then those of `path`, then `overrides` (the names of OVERRIDES).

    A file may name only what it changes. Raises ConfigError for an unknown key or a bad value.
    """
    if path is None and not overrides:
        return default_settings()
    merged = _read(DEFAULTS)
    for section, values in (_read(Path(path)) if path is not None else {}).items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {section} must hold keys and values")
        merged[section] = {**merged.get(section, {}), **values}
    for name, value in overrides.items():
        if name not in OVERRIDES:
            raise ConfigError(f"{name} is no setting; known are {', '.join(OVERRIDES)}")
        section, key = OVERRIDES[name]
        merged[section] = {**merged[section], key: value}
    return _checked(merged, source=str(path or DEFAULTS.name))


@lru_cache(maxsize=1)
def default_settings() -> TrackerSettings:
    """The shipped settings, read once: a tracker is made for every transaction."""
    return _checked(_read(DEFAULTS), source=DEFAULTS.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections, not a {type(values).__name__}")
    return values


def _checked(values: dict[str, Any], source: str) -> TrackerSettings:
    try:
        return TrackerSettings.model_validate(values)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{source}: {key}: {first['msg']}") from exc
