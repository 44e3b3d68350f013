"""Where settings come from: argument > environment > `.env` > `paydesk.yaml` > default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import yaml
from dotenv import dotenv_values

from paydesk.errors import InvalidRequest, Misconfigured
from paydesk.rules.margins import parse as parse_margins
from paydesk.rules.money import EXPONENTS
from paydesk.settings import Settings, all_fields

#: The credits family's config.yaml: section and key -> setting. None: the tracker's own.
DOCUMENT_KEYS: dict[str, str | None] = {
    "payment_tracking.session_expiry_minutes": "session_expiry_minutes",
    "payment_tracking.check_duplicates_before_credit": "check_duplicates_before_credit",
    "payment_tracking.claim_lease_seconds": None,
    "payment_tracking.keep_status_history": None,
    "recovery.enabled": "recovery_enabled",
    "recovery.auto_verify_on_success_page": "recovery_auto_verify_on_success_page",
    "recovery.max_verification_attempts": "recovery_max_verification_attempts",
}
#: Single values that make an address where no whole one is given. The first set that fits wins.
PARTS: dict[str, tuple[dict[str, str], ...]] = {
    "database_url": (
        {"host": "DB_HOST", "port": "DB_PORT", "name": "DB_NAME", "user": "DB_USER",
         "password": "DB_PASSWORD"},
        {"host": "PGHOST", "port": "PGPORT", "name": "PGDATABASE", "user": "PGUSER",
         "password": "PGPASSWORD", "sslmode": "PGSSLMODE"},
    ),
    "redis_url": (
        {"host": "REDIS_HOST", "port": "REDIS_PORT", "password": "REDIS_PASSWORD",
         "name": "REDIS_DB"},
    ),
}  # fmt: skip
#: PAYDESK_* names that are read elsewhere and are no settings.
OTHER_NAMES = {"PAYDESK_CONFIG", "PAYDESK_TEST_ENGINE", "PAYDESK_CRASH_AT"}
_WORDS = {"1": True, "true": True, "yes": True, "on": True,
          "0": False, "false": False, "no": False, "off": False}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """The settings, where each value came from, and what looked wrong but did no harm."""

    settings: Settings
    origins: dict[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Text values by upper-case name; `label` is what people are told."""

    label: str
    values: Mapping[str, str]


def load(
    argv_overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
) -> Loaded:
    """Read every source. Raises Misconfigured, naming the variable, its source and the fix.

    Overrides are by field name; None means not given. An empty text means the default.
    """
    environ = os.environ if environ is None else environ
    folder = Path(cwd) if cwd is not None else Path.cwd()
    warnings: list[str] = []
    sources = [
        Source("environment", environ),
        Source(".env", _read_dotenv(folder / ".env")),
        _read_yaml(_config_path(environ, folder), warnings),
    ]
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for spec in all_fields():
        given = (argv_overrides or {}).get(spec.name)
        if given is not None:
            text, origin = given, "argument"
        else:
            text, origin = _look_up(spec, sources)
        if text is None or text == "":
            origins[spec.name] = "default"
            continue
        values[spec.name] = cast(spec, text, origin)
        origins[spec.name] = origin
    warnings += _unknown_names(sources[:2])
    return Loaded(Settings(**values), origins, tuple(warnings))


def names_of(spec: Field[Any]) -> tuple[str, ...]:
    """Every environment name of a setting: its listed ones, then PAYDESK_ and its field name."""
    own = f"PAYDESK_{spec.name.upper()}"
    listed: tuple[str, ...] = spec.metadata["names"]
    return listed if own in listed else (*listed, own)


def masked(spec: Field[Any], value: Any) -> str:
    """A value as `paydesk config` shows it: secrets as dots, passwords in addresses too."""
    text = str(value)
    if not spec.metadata["secret"] or not text:
        return text
    parts = urlsplit(text) if "://" in text else None
    if parts is None:
        return f"{text[:8]}…" if text.startswith(("sk_test_", "sk_live_", "rk_")) else "••••••"
    if parts.password is None:
        return text
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:••••••@{host}"))


# Reading ------------------------------------------------------------------------------------------


def _config_path(environ: Mapping[str, str], folder: Path) -> Path | None:
    told = environ.get("PAYDESK_CONFIG")
    if told:
        path = folder / told
        if not path.is_file():
            raise Misconfigured(f"PAYDESK_CONFIG names {path}, which is not there.")
        return path
    found = folder / "paydesk.yaml"
    return found if found.is_file() else None


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        found = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured(f"{path} cannot be read: {exc}.") from exc
    return {name: value for name, value in found.items() if value is not None}


def _read_yaml(path: Path | None, warnings: list[str]) -> Source:
    """Keys may be field names, environment names, or the credits family's sections."""
    if path is None:
        return Source("paydesk.yaml", {})
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise Misconfigured(f"{path} cannot be read: {exc}.") from exc
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise Misconfigured(f"{path} must hold keys and values, not a {type(content).__name__}.")
    known = {name: spec for spec in all_fields() for name in (spec.name, *names_of(spec))}
    parts = {name for sets in PARTS.values() for one in sets for name in one.values()}
    values: dict[str, str] = {}
    for key, value in _flat(content):
        if key in DOCUMENT_KEYS:
            setting = DOCUMENT_KEYS[key]
            if setting is not None:
                values[names_of(known[setting])[0]] = _as_text(value)
        elif key in known:
            # A field name stands for the first name, so that one look-up serves all sources.
            values[names_of(known[key])[0] if key.islower() else key] = _as_text(value)
        elif key in parts:
            values[key] = _as_text(value)
        else:
            warnings.append(f"{path.name}: {key} is no setting and was not read.")
    return Source(path.name, values)


def _flat(content: dict[Any, Any]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            pairs += [(f"{key}.{inner}", leaf) for inner, leaf in value.items()]
        else:
            pairs.append((str(key), value))
    return pairs


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def _look_up(spec: Field[Any], sources: list[Source]) -> tuple[str | None, str]:
    """The text and its origin from the first source that has it; (None, "") where none has."""
    for source in sources:
        present = [name for name in names_of(spec) if name in source.values]
        for name in present:
            if source.values[name] != "":
                return source.values[name], f"{source.label} {name}"
        composed = _composed(spec.name, source, sources)
        if composed:
            return composed
        if present:
            return "", ""
    return None, ""


def _composed(setting: str, source: Source, sources: list[Source]) -> tuple[str, str] | None:
    """An address from single variables, when `source` gives its host or its database's name.

    The other parts may stand in a later source, as a password often does.
    """
    for names in PARTS.get(setting, ()):
        leading = [names["host"]] if setting == "redis_url" else [names["host"], names["name"]]
        if not any(source.values.get(name) for name in leading):
            continue
        found: dict[str, str] = {}
        for part, name in names.items():
            value = next((s.values[name] for s in sources if s.values.get(name)), "")
            if value:
                found[part] = value
        used = ", ".join(names[part] for part in found)
        address = _redis_url(found) if setting == "redis_url" else _postgres_url(found)
        return address, f"{source.label} {used}"
    return None


def _postgres_url(parts: dict[str, str]) -> str:
    user, password = (quote(parts.get(part, ""), safe="") for part in ("user", "password"))
    who = f"{user}:{password}@" if password else (f"{user}@" if user else "")
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    name, query = quote(parts.get("name", "") or parts.get("user", ""), safe=""), []
    if host.startswith("/"):  # a folder with the server's socket
        query.append(f"host={quote(host, safe='')}")
        query.append(f"port={port}")
        host_port = ""
    else:
        host_port = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if parts.get("sslmode"):
        query.append(f"sslmode={parts['sslmode']}")
    return f"postgresql://{who}{host_port}/{name}" + (f"?{'&'.join(query)}" if query else "")


def _redis_url(parts: dict[str, str]) -> str:
    password = quote(parts.get("password", ""), safe="")
    who = f":{password}@" if password else ""
    return f"redis://{who}{parts['host']}:{parts.get('port', '6379')}/{parts.get('name', '0')}"


def _unknown_names(sources: list[Source]) -> list[str]:
    known = {name for spec in all_fields() for name in names_of(spec)} | OTHER_NAMES
    return [
        f"{source.label}: {name} is no setting and was not read."
        for source in sources
        for name in sorted(source.values)
        if name.startswith("PAYDESK_") and name not in known
    ]


# Casting ------------------------------------------------------------------------------------------


def cast(spec: Field[Any], value: Any, origin: str) -> Any:
    """The value in the setting's type and range. Raises Misconfigured."""
    kind = type(spec.default)
    try:
        typed = _typed(kind, value)
    except (ValueError, InvalidOperation):
        what = f"must be {_kind_words(kind)}, not {_shown(spec, value)}"
        raise _wrong(spec, origin, what) from None
    least, most = spec.metadata["least"], spec.metadata["most"]
    if least is not None and typed < least:
        raise _wrong(spec, origin, f"must be at least {least}, not {typed}")
    if most is not None and typed > most:
        raise _wrong(spec, origin, f"must be at most {most}, not {typed}")
    choices = spec.metadata["choices"]
    if choices and typed not in choices:
        raise _wrong(spec, origin, f"must be one of {', '.join(choices)}, not {typed!r}")
    return _checked_text(spec, typed, origin)


def _typed(kind: type, value: Any) -> Any:
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value.strip() if isinstance(value, str) else value
    text = str(value).strip()
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError
        return _WORDS[text.lower()]
    if kind is int:
        if not re.fullmatch(r"[+-]?[0-9_]{1,18}", text):
            raise ValueError
        return int(text)
    if kind is Decimal:
        number = Decimal(text)
        if not number.is_finite() or number < 0:
            raise ValueError
        return number
    return text


def _checked_text(spec: Field[Any], value: Any, origin: str) -> Any:
    """Addresses, currencies and margins have a form of their own."""
    if spec.name == "conversion_margin":
        try:
            parse_margins(value)
        except InvalidRequest as exc:
            raise _wrong(spec, origin, f"is wrong: {str(exc).rstrip('.')}") from None
    if spec.name in ("default_currency", "wallets_currency"):
        if value.lower() not in EXPONENTS:
            raise _wrong(spec, origin, f"must be an ISO 4217 code like usd, not {value!r}")
        return value.lower()
    schemes = {
        "database_url": ("postgres://", "postgresql://"),
        "redis_url": ("redis://", "rediss://", "unix://"),
        "public_url": ("http://", "https://"),
        "simulator_url": ("http://", "https://"),
        "paypal_url": ("http://", "https://"),
        "btcpay_url": ("http://", "https://"),
        "moncash_url": ("http://", "https://"),
    }.get(spec.name)
    if schemes and not value.startswith(schemes):
        raise _wrong(spec, origin, f"must begin with {' or '.join(schemes)}")
    return value


def _kind_words(kind: type) -> str:
    words = {bool: "true or false", int: "a whole number", Decimal: "a decimal number from 0 up"}
    return words.get(kind, "a text")


def _shown(spec: Field[Any], value: Any) -> str:
    return "what it is (a secret, not shown)" if spec.metadata["secret"] else repr(value)


def _wrong(spec: Field[Any], origin: str, what: str) -> Misconfigured:
    name = origin.rpartition(" ")[2] if " " in origin else spec.name
    place = origin.rpartition(" ")[0] if " " in origin else origin
    return Misconfigured(f"{name} ({place}) {what}.", param=spec.name)
