"""The `Stripe-Signature` header of a delivery."""

from __future__ import annotations

import hashlib
import hmac


def header(secret: str, body: bytes, timestamp: int) -> str:
    """`t=<seconds>,v1=<hex>`: an HMAC-SHA256 of the time, a point and the body."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
