"""How pages look: templates, icons, money and times as people read them, headers, the theme."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from paydesk import __version__
from paydesk.rules import money

#: Currencies whose sign is plain enough to stand alone.
_SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
#: Nothing from elsewhere, nothing inline: what a page needs is served by this process.
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Vary": "Cookie, Accept",
}
#: State -> word and tone. Tones: ok, warn, bad, info and "" (plain).
STATES: dict[str, tuple[str, str]] = {
    "pending": ("Waiting for payment", "info"),
    "processing": ("Processing", "info"),
    "requires_action": ("Needs action", "warn"),
    "authorized": ("Authorized", "info"),
    "succeeded": ("Succeeded", "ok"),
    "failed": ("Failed", "bad"),
    "expired": ("Expired", ""),
    "canceled": ("Canceled", ""),
    "refunded": ("Refunded", ""),
    "partially_refunded": ("Partially refunded", ""),
    # fulfilments
    "due": ("Due", "warn"),
    "done": ("Done", "ok"),
    "blocked": ("Blocked", "bad"),
    "reversed": ("Reversed", ""),
    # the inbox, provider calls, attempts
    "new": ("New", "info"),
    "waiting": ("Waiting", "warn"),
    "parked": ("Parked", "bad"),
    "intended": ("Intended", "info"),
    "unknown": ("Unknown", "warn"),
    "refused": ("Refused", "bad"),
    "open": ("Open", "info"),
    "active": ("Active", "ok"),
    "inactive": ("Inactive", ""),
    "reserved": ("Reserved", "info"),
    "used": ("Used", "ok"),
    "released": ("Released", ""),
    # subscriptions
    "incomplete": ("Not paid yet", "info"),
    "trialing": ("In trial", "info"),
    "past_due": ("Payment late", "warn"),
    "unpaid": ("Unpaid", "bad"),
    "paused": ("Paused", ""),
    # invoices
    "draft": ("Draft", ""),
    "paid": ("Paid", "ok"),
    "void": ("Void", ""),
    "uncollectible": ("Uncollectible", "warn"),
    "issued": ("Issued", "ok"),
    # refunds
    "requested": ("To decide", "warn"),
    "rejected": ("Refused", ""),
    # disputes
    "warning": ("Early warning", "warn"),
    "needs_response": ("Needs response", "bad"),
    "under_review": ("Under review", "info"),
    "won": ("Won", "ok"),
    "lost": ("Lost", "bad"),
    "closed": ("Closed", ""),
    # wallets
    "frozen": ("Frozen", "warn"),
    # risk
    "allow": ("Allow", "ok"),
    "block": ("Block", "bad"),
    "review": ("Review", "warn"),
    "accepted": ("Accepted", "ok"),
}


# Money, numbers and times ---------------------------------------------------------------------


def amount(minor: int, currency: str) -> str:
    """`$49.05`, `−$5.45`, `HTG 1,250.00`; exact, with a true minus sign."""
    text = money.format_minor(abs(minor), currency)
    whole, point, rest = text.partition(".")
    sign = _SIGNS.get(currency, f"{currency.upper()} ")
    return ("−" if minor < 0 else "") + sign + f"{int(whole):,}" + point + rest


def short_amount(minor: int, currency: str) -> str:
    """For an axis: `$0`, `$950`, `$4k`, `$2.5k`, `$1.2M`; rounded down to what is shown."""
    whole = abs(minor) // 10 ** money.exponent(currency)
    sign = _SIGNS.get(currency, "")
    for least, unit in ((1_000_000, "M"), (1_000, "k")):
        if whole >= least:
            tenths = whole * 10 // least
            text = f"{tenths // 10}.{tenths % 10}".removesuffix(".0")
            return f"{sign}{text}{unit}"
    return f"{sign}{whole}"


def count(number: int) -> str:
    return f"{number:,}".replace("-", "−")


def signed(number: int) -> str:
    return ("+" if number > 0 else "") + count(number)


def moment(at: datetime | None) -> str:
    """`Nov 21, 2026, 08:41:07`, in UTC."""
    return f"{at:%b} {at.day}, {at:%Y, %H:%M:%S}" if at else "—"


def day(at: datetime | None) -> str:
    return f"{at:%b} {at.day}, {at:%Y}" if at else "—"


def day_of(at: date) -> str:
    return f"{at:%b} {at.day}, {at:%Y}"


def ago(at: datetime | None, now: datetime) -> str:
    """`just now`, `2 min ago`, `3 h ago`, `5 days ago`, then the date."""
    if at is None:
        return "—"
    seconds = int((now - at).total_seconds())
    if seconds < 0:
        return ahead(at, now)
    for least, unit_s, word in ((86_400 * 14, 0, ""), (86_400, 86_400, "days"), (3600, 3600, "h"),
                                (60, 60, "min")):  # fmt: skip
        if seconds >= least:
            if not unit_s:
                return day(at)
            number = seconds // unit_s
            return f"{number} {'day' if word == 'days' and number == 1 else word} ago"
    return "just now"


def ahead(at: datetime, now: datetime) -> str:
    """`in 29 min`, `in 12 days`; rounded, so that a year just begun is 365 days, not 364."""
    seconds = int((at - now).total_seconds())
    if seconds < 0:
        return ago(at, now)
    if seconds >= 86_400 * 2:
        return f"in {round(seconds / 86_400)} days"
    if seconds >= 7200:
        return f"in {round(seconds / 3600)} h"
    return f"in {max(round(seconds / 60), 1)} min"


def time_tag(at: datetime | None, now: datetime | None = None, form: str = "") -> Markup:
    """A `time` element: relative when `now` is given, the exact instant on hover."""
    if at is None:
        return Markup("—")
    at = at.astimezone(UTC)
    shown = ago(at, now) if now else f"{at:{form or '%H:%M:%S'}}"
    iso = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(iso, moment(at), shown)


def initials(text: str) -> str:
    words = [w for w in re.split(r"[^\w]+", text.partition("@")[0]) if w]
    letters = [w[0] for w in words[:2]] if len(words) > 1 else list((words or ["?"])[0][:2])
    return "".join(letters).upper()


def state_of(name: str) -> dict[str, str]:
    word, tone = STATES.get(name, (name.replace("_", " ").capitalize(), ""))
    return {"word": word, "tone": tone}


def words(code: str) -> str:
    """A code as people read it: `card_declined` is `Card declined`."""
    text = code.replace("_", " ")
    return text[:1].upper() + text[1:]


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


# Files that are served --------------------------------------------------------------------------


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Content and media type by the name under /assets/."""
    folder = files("paydesk.pages") / "static"
    found: dict[str, tuple[bytes, str]] = {}
    for prefix, place in (("", folder), ("vendor/", folder / "vendor")):
        for entry in place.iterdir():
            if entry.is_file() and not entry.name.endswith(".toml"):
                kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
                kind = "font/woff2" if entry.name.endswith(".woff2") else kind
                found[prefix + entry.name] = (entry.read_bytes(), kind)
    return found


@cache
def asset_version() -> str:
    """Changes with any file, so that answers can be kept by browsers for good."""
    digest = hashlib.sha256()
    for name, (content, _) in sorted(static_files().items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()[:12]


def asset(name: str) -> str:
    """The address of a static file; it holds the version, so relative addresses inside fit."""
    return f"/assets/{asset_version()}/{name}"


def serve_asset(name: str) -> Response:
    content, kind = static_files()[name]
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(content, media_type=kind, headers=headers)


@cache
def _icons() -> dict[str, str]:
    text = static_files()["vendor/lucide.svg"][0].decode()
    return dict(re.findall(r'<symbol id="([^"]+)"[^>]*>(.*?)</symbol>', text, re.S))


def icon(name: str) -> Markup:
    """A drawing inline; decoration beside words, so it is hidden from readers."""
    return Markup(  # the drawing is ours, from the sprite
        f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{_icons()[name]}</svg>'
    )


# Pages --------------------------------------------------------------------------------------------


@cache
def templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("paydesk.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        amount=amount, count=count, signed=signed, moment=moment, day=day, time_tag=time_tag,
        ago=ago, ahead=ahead, initials=initials, as_json=as_json, state_of=state_of,
        short_amount=short_amount, words=words,
    )  # fmt: skip
    environment.globals.update(icon=icon, asset=asset, version=__version__)
    return environment


def theme_of(request: Request) -> str:
    """`light`, `dark`, or "" for what the browser prefers."""
    chosen = request.cookies.get("paydesk_theme", "")
    return chosen if chosen in ("light", "dark") else ""


def page(request: Request, name: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A rendered page with its headers. `env` must be the request's environment."""
    env = request.app.state.env
    body = templates().get_template(name).render(
        theme=theme_of(request),
        path=request.url.path,
        settings=env.settings,
        now=env.now(),
        **context,
    )
    return HTMLResponse(body, status_code=status, headers=HEADERS)


def pdf(name: str, content: bytes) -> Response:
    """A document that opens in the browser, and is saved under this name."""
    headers = HEADERS | {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(content, media_type="application/pdf", headers=headers)


def go(url: str, status: int = 303) -> RedirectResponse:
    return RedirectResponse(url, status_code=status, headers=HEADERS)


def local_path(text: str, otherwise: str) -> str:
    """A path of this site, never another's address."""
    is_path = text.startswith("/") and not text.startswith(("//", "/\\")) and "\\" not in text
    return text if is_path and not re.search(r"[\x00-\x20]", text) else otherwise


def lines(text: str) -> Markup:
    """Paragraph breaks kept, everything else escaped."""
    return Markup("<br>").join(escape(part) for part in text.splitlines())
