"""Write the reference pages that the code knows best: settings, errors, events, endpoints.

`python tools/reference.py` writes docs/reference/*.md; `--check` exits with 1 when one is stale.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import paydesk.http.app  # noqa: F401 - loads every module that may raise
from paydesk.errors import PaydeskError, all_errors
from paydesk.flows.event_types import TYPES
from paydesk.settings import all_fields

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "reference"


def settings_page() -> str:
    """Every setting: environment names, default, what it is for."""
    lines = ["# Settings", "",
             "Order: argument, environment, `.env`, `paydesk.yaml`, default. `paydesk config`",
             "shows each value and where it came from.", "",
             "| setting | environment | default | what it is for |", "|---|---|---|---|"]
    for item in all_fields():
        names = ", ".join(f"`{n}`" for n in item.metadata["names"])
        default = "(empty)" if item.default == "" else f"`{item.default}`"
        secret = " Secret." if item.metadata["secret"] else ""
        lines.append(f"| `{item.name}` | {names} | {default} | {item.metadata['doc']}{secret} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Every error code with its status, meaning and the document that answers it."""
    lines = ["# Errors", "",
             "Every refusal is an RFC 9457 problem. `code` is stable; `paydesk explain CODE`",
             "prints the same text. The bookings family's codes stand in `legacy_code`.", ""]
    for code, kind in all_errors().items():
        lines += [f"## {code}", "", f"{kind.http_status} · {kind.title}."]
        if kind.legacy_code:
            lines[-1] += f" Legacy code {kind.legacy_code}."
        doc = inspect.getdoc(kind) if kind.__doc__ is not PaydeskError.__doc__ else None
        if doc and "__doc__" in vars(kind) and vars(kind)["__doc__"]:
            lines += ["", doc]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def events_page() -> str:
    """Every event type with a sentence and an example of its data."""
    lines = ["# Events", "",
             "Every change writes its event in the same transaction, with a sequence per customer",
             "that has no gap. Delivery is at least once: `id` tells repetitions apart.", ""]
    for name, known in sorted(TYPES.items()):
        lines += [f"## {name}", "", f"{known.description} About: {known.subject}.", "",
                  "```json", json.dumps(known.data, indent=2), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def endpoints_page(openapi: dict[str, Any]) -> str:
    """Every endpoint of the OpenAPI document, by its first path words."""
    lines = ["# Endpoints", "", "The whole description is `docs/openapi.json`, OpenAPI 3.1.", "",
             "| method | path | who | what it does |", "|---|---|---|---|"]
    for path, methods in sorted(openapi["paths"].items()):
        for method, operation in methods.items():
            access = operation["x-access"]
            who = ", ".join(access["roles"]) + (" (own)" if access["owner"] == "own" else "")
            summary = operation.get("summary", "").replace("|", "\\|")
            lines.append(f"| {method.upper()} | `{path}` | {who} | {summary} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """File name -> text of every reference page."""
    openapi = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    return {
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "events.md": events_page(),
        "endpoints.md": endpoints_page(openapi),
    }


def main() -> int:
    stale = []
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = OUT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        print("stale:", ", ".join(stale), "; run python tools/reference.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
