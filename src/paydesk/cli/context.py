"""What commands work with: the settings, development's secrets, and an environment to open."""

from __future__ import annotations

import getpass
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paydesk import causes, sources
from paydesk.errors import Misconfigured
from paydesk.sources import Loaded

if TYPE_CHECKING:
    from paydesk.env import Env

SECRETS_FILE = "development.json"
RUNNING_FILE = "running.json"
#: Of every command that moves money or hands over goods; given on to `opened`.
Live = Annotated[bool, typer.Option("--live", help="Needed where a live key is set.")]
#: Words that `--customer` and `--status` had before: what scripts say still holds.
OldCustomer = Annotated[str | None, typer.Option("--user", hidden=True)]
OldStatus = Annotated[str | None, typer.Option("--state", hidden=True)]
#: The key that development accepts; it works on this machine's own addresses only.
DEVELOPMENT_KEY = "sk_test_dev"


def load(overrides: Mapping[str, Any] | None = None) -> Loaded:
    """The settings; where development has made secrets in the data folder, those too."""
    loaded = sources.load(overrides)
    kept = read_json(Path(loaded.settings.data_dir) / SECRETS_FILE)
    running = read_json(Path(loaded.settings.data_dir) / RUNNING_FILE)
    is_own = bool(loaded.settings.database_url) or not loaded.settings.simulated
    if not kept or (is_own and not running):
        # Beside somebody's own database or a real provider, what development left has no place.
        return loaded
    return _with_secrets(loaded, kept, int(running.get("port", 0)))


def _with_secrets(loaded: Loaded, kept: Mapping[str, str], port: int) -> Loaded:
    """Development's values where nothing else was said."""
    settings, origins = loaded.settings, dict(loaded.origins)
    origin = f"development ({Path(settings.data_dir) / SECRETS_FILE})"
    changes: dict[str, Any] = {}
    for name in ("jwt_secret", "stripe_webhook_secret", "secret_key"):
        if not getattr(settings, name) and kept.get(name):
            changes[name] = kept[name]
            origins[name] = origin
    if port and origins["port"] == "default":
        changes["port"] = port
        origins["port"] = "the desk that runs now"
    return Loaded(replace(settings, **changes), origins, loaded.warnings)


def development_secrets(folder: Path, host: str) -> dict[str, str]:
    """Made once and kept in a file that its owner alone can read."""
    path = folder / SECRETS_FILE
    kept = read_json(path)
    is_local = host in ("127.0.0.1", "localhost", "::1")
    wanted = {
        "jwt_secret": secrets.token_urlsafe(48),
        "stripe_webhook_secret": f"whsec_{secrets.token_hex(24)}",
        "secret_key": f"sk_test_{secrets.token_urlsafe(24)}",
    }
    merged = {name: str(kept.get(name) or value) for name, value in wanted.items()}
    if is_local:
        merged["secret_key"] = DEVELOPMENT_KEY
    elif merged["secret_key"] == DEVELOPMENT_KEY:
        # A key that everybody knows must not open a desk that others can reach.
        merged["secret_key"] = wanted["secret_key"]
    if merged != kept:
        write_private(path, merged)
    return merged


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_private(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the file whole; nobody else may read it at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(dict(content), file)
    scratch.replace(path)


@contextmanager
def opened(overrides: Mapping[str, Any] | None = None, *, live: bool = True) -> Iterator[Env]:
    """An environment for one command. The sandbox's database is started for it where none runs.

    `live` False refuses to go on with a live key set: a command in a shell's history, run in the
    wrong window, moves nobody's money.
    """
    from paydesk.assemble import build_env
    from paydesk.http import logs

    loaded = load(overrides)
    if loaded.settings.live and not live:
        raise Misconfigured("A live key is set: say --live to change something.")
    logs.configure("warning" if loaded.settings.log_level == "info" else loaded.settings.log_level)
    env = build_env(loaded.settings, start_missing=not loaded.settings.database_url, name="cli")
    try:
        with causes.by(f"cli:{getpass.getuser()}", "cli"):
            yield env
    finally:
        env.close()
