"""How the business shows itself in mails and on receipts: address, contact, color and logo."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paydesk.errors import Misconfigured

if TYPE_CHECKING:
    from paydesk.settings import Settings

COLOR = "#2f5be7"
_MOST_BYTES = 256 * 1024
#: First bytes of a file -> its subtype of image/.
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}
#: What white text needs on a color to be readable (WCAG 2.2, 1.4.3).
_LEAST_CONTRAST = 4.5


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture. `kind` is png or jpeg."""

    kind: str
    content: bytes

    @property
    def data_url(self) -> str:
        return f"data:image/{self.kind};base64,{base64.b64encode(self.content).decode()}"


def check(settings: Settings) -> None:
    """Raises Misconfigured where the color or the logo of the settings cannot be used."""
    color(settings.brand_color)
    logo(settings)


def facts(settings: Settings) -> dict[str, Any]:
    """What every mail and receipt keeps of the business. Raises Misconfigured for its color."""
    return {
        "business": settings.business_name, "base_url": settings.base_url,
        "address": lines(settings.business_address), "contact": settings.business_email,
        "tax_id": settings.business_tax_id, "color": color(settings.brand_color),
        "account_url": settings.account_url,
    }  # fmt: skip


def lines(text: str) -> list[str]:
    """The lines of an address."""
    return [one.strip() for one in re.split(r"[;\n]", text) if one.strip()]


def color(text: str) -> str:
    """The color, in lower case. Raises Misconfigured where it is none or too light."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise Misconfigured("The brand color is written #rrggbb.", param="PAYDESK_BRAND_COLOR")
    if contrast(text, "#ffffff") < _LEAST_CONTRAST:
        raise Misconfigured(
            f"White text cannot be read on {text}: take a darker color.",
            param="PAYDESK_BRAND_COLOR",
        )
    return text.lower()


def contrast(one: str, other: str) -> float:
    """The contrast of two colors, 1 to 21, by WCAG 2.2."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(text: str) -> float:
    parts = [int(text[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def logo(settings: Settings) -> Logo | None:
    """The logo that the setting names. Raises Misconfigured where it cannot be used."""
    if not settings.business_logo:
        return None
    path = Path(settings.business_logo).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise Misconfigured(
            f"The logo cannot be read: {exc.strerror}.", param="PAYDESK_BUSINESS_LOGO"
        ) from exc
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    if kind is None or len(content) > _MOST_BYTES:
        raise Misconfigured(
            "The logo is a PNG or JPEG of at most 256 kB.", param="PAYDESK_BUSINESS_LOGO"
        )
    return Logo(kind, content)
