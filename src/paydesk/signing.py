"""Signatures of outgoing webhooks (Standard Webhooks 1.0.0), and secrets sealed for storage."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from paydesk.errors import InvalidRequest, InvalidSignature, Misconfigured

if TYPE_CHECKING:
    from paydesk.settings import Settings

PREFIX = "whsec_"
#: Bytes of a secret, by the specification.
LEAST_BYTES, MOST_BYTES = 24, 64
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


# Signatures --------------------------------------------------------------------------------------


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes that sign. Raises InvalidRequest for what is no `whsec_` secret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise InvalidRequest(
            f"A secret is whsec_ and {LEAST_BYTES} to {MOST_BYTES} bytes in base64.", param="secret"
        )
    return key


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    mac = hmac.new(key_of(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def headers(message_id: str, at: datetime, body: bytes, keys: Iterable[str]) -> dict[str, str]:
    """The three headers. With several secrets, as while one is replaced, each signs."""
    timestamp = int(at.timestamp())
    signed = [signature(secret, message_id, timestamp, body) for secret in keys]
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signed)}


def verify(
    secrets_: Iterable[str], given: Mapping[str, str], body: bytes, at: datetime, *,
    tolerance_s: int = 300,
) -> str:  # fmt: skip
    """The message's id. Raises InvalidSignature when no secret fits or the time is too far off."""
    found = {name.lower(): value for name, value in given.items()}
    message_id, stamp = found.get(ID, ""), found.get(TIMESTAMP, "")
    if not message_id or not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise InvalidSignature("webhook-id or webhook-timestamp is missing.")
    is_good = False
    offered = [one for one in found.get(SIGNATURE, "").split() if one.startswith("v1,")]
    for secret in secrets_:
        wanted = signature(secret, message_id, int(stamp), body).encode()
        for one in offered:
            is_good |= hmac.compare_digest(wanted, one.encode())
    if not is_good:
        raise InvalidSignature("No signature fits the body.")
    if abs(int(at.timestamp()) - int(stamp)) > tolerance_s:
        raise InvalidSignature("The webhook's time is too far from ours.")
    return message_id


# Secrets at rest --------------------------------------------------------------------------------


def seal(settings: Settings, purpose: str, text: str) -> bytes:
    """A text that only this desk's settings open again (AES-256-GCM, a fresh nonce each time).

    The key comes from PAYDESK_ENCRYPTION_KEY, else JWT_SECRET, else PAYDESK_SECRET_KEY. Raises
    Misconfigured where none of them is set: nothing is ever stored open.
    """
    known = _sources(settings)
    if not known:
        raise Misconfigured(
            "PAYDESK_ENCRYPTION_KEY is not set, so a secret could not be stored safely.",
            param="PAYDESK_ENCRYPTION_KEY",
        )
    nonce = os.urandom(12)
    sealed = AESGCM(_sealing_key(known[0], purpose)).encrypt(nonce, text.encode(), purpose.encode())
    return nonce + sealed


def unseal(settings: Settings, purpose: str, sealed: bytes) -> str:
    """The text again; each of the settings that may have sealed it is tried. Raises Misconfigured
    when none opens it."""
    for source in _sources(settings):
        try:
            opened = AESGCM(_sealing_key(source, purpose)).decrypt(
                sealed[:12], sealed[12:], purpose.encode()
            )
            return opened.decode()
        except InvalidTag:
            continue
    raise Misconfigured(
        "A stored secret cannot be opened: PAYDESK_ENCRYPTION_KEY has changed. Name the former"
        " key after the new one, separated by a comma, or rotate the secret.",
        param="PAYDESK_ENCRYPTION_KEY",
    )


def _sources(settings: Settings) -> list[str]:
    own = [one.strip() for one in settings.encryption_key.split(",")]
    return [one for one in (*own, settings.jwt_secret, settings.secret_key) if one]


def _sealing_key(source: str, purpose: str) -> bytes:
    """HKDF-SHA256 (RFC 5869) with one block of output."""
    extracted = hmac.new(b"paydesk sealing", source.encode(), hashlib.sha256).digest()
    return hmac.new(extracted, purpose.encode() + b"\x01", hashlib.sha256).digest()
