"""Sealed words: content and its signature in one, for cookies, forms and links.

Whoever holds one can read it and cannot change it. Each is for one purpose and ends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

from paydesk.settings import Settings

#: Seals where no secret is set: such words end with the process.
_PROCESS_SECRET = secrets.token_bytes(32)


def key(settings: Settings, purpose: str) -> bytes:
    """The key of a purpose, from the one secret of the desk."""
    base = settings.jwt_secret or settings.secret_key or settings.stripe_secret_key
    material = base.encode() if base else _PROCESS_SECRET
    return hmac.new(material, f"paydesk pages {purpose}".encode(), hashlib.sha256).digest()


def seal(settings: Settings, purpose: str, content: dict[str, Any]) -> str:
    """Content and its signature as one word. `exp`, in seconds, says when it ends."""
    body = base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode())
    mac = hmac.new(key(settings, purpose), body, hashlib.sha256).digest()
    return f"{body.decode().rstrip('=')}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def unseal(settings: Settings, purpose: str, word: str, now_s: float) -> dict[str, Any] | None:
    """The content, or None when it was changed, is for another purpose or has ended."""
    body, _, mac = word.partition(".")
    if not body or not mac or len(word) > 4096 or not word.isascii():
        return None
    padded = body + "=" * (-len(body) % 4)
    wanted = hmac.new(key(settings, purpose), padded.encode(), hashlib.sha256).digest()
    try:
        given = base64.urlsafe_b64decode(mac + "=" * (-len(mac) % 4))
        if not hmac.compare_digest(wanted, given):
            return None
        content = json.loads(base64.urlsafe_b64decode(padded))
    except ValueError:
        return None
    return content if content.get("exp", 0) > now_s else None
