"""PayPal's signature, checked here: RSA over a webhook's ids, its time and its body's checksum.

The certificate is PayPal's own: fetched from PayPal alone, led back to an authority that this
machine trusts, made out to the name that PayPal signs by, and kept until it ends. Whatever of this
does not come about leaves the question to PayPal.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from paydesk.errors import AddressRefused, InvalidSignature
from paydesk.logger import get_logger

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509.verification import Store

log = get_logger(__name__)

#: Where PayPal keeps its certificates, on any of its hosts.
PATH = r"/v1/notifications/certs/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
AT_PAYPAL = re.compile(rf"https://(?:[a-z0-9-]{{1,63}}\.){{0,4}}paypal\.com(?::443)?{PATH}")
#: The name that its certificate is made out to.
NAMES = {False: "messageverificationcerts.paypal.com",
         True: "messageverificationcerts.sandbox.paypal.com"}  # fmt: skip
ALGORITHM = "SHA256WITHRSA"
#: A certificate and those between it and an authority.
MOST_BYTES, MOST_LINKS = 65_536, 5
MOST_KEPT = 16
#: A signature of 4096 bits in base 64, with room.
MOST_SIGNATURE, MOST_HEADER = 1024, 255
FETCH_S = 3.0
#: After so many fetches that brought nothing, none is tried for a while: PayPal is asked.
FAILURES, REST_S = 8, 60.0


class Certificates:
    """PayPal's certificates by their addresses; safe to use from any thread.

    `base_url`: the interface's own address, which may have certificates too, as where another
    program stands in for PayPal.
    """

    def __init__(
        self, base_url: str, *, sandbox: bool, timeout_s: float = FETCH_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self._base_url = base_url.rstrip("/")
        self._name = NAMES[sandbox]
        self._timeout_s = min(FETCH_S, timeout_s)
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[RSAPublicKey, datetime]] = OrderedDict()
        self._failures = 0
        self._rest_until = 0.0

    def verify(self, told: Mapping[str, str], webhook_id: str, body: bytes) -> bool | None:
        """Whether PayPal signed this body for this webhook; None: that cannot be told here.

        `told`: auth_algo, cert_url, transmission_id, transmission_sig and transmission_time as the
        headers have them. Raises InvalidSignature for headers that are none of PayPal's, of which
        nothing is fetched.
        """
        from cryptography.exceptions import InvalidSignature as Mismatch
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        parts = told["transmission_id"], told["transmission_time"]
        if any(len(part) > MOST_HEADER or not part.isascii() for part in parts):
            raise InvalidSignature()
        if not self.may_be_fetched(told["cert_url"]):
            raise InvalidSignature("The certificate's address is none of PayPal's.")
        try:
            signature = base64.b64decode(told["transmission_sig"][:MOST_SIGNATURE], validate=True)
        except (binascii.Error, ValueError):
            raise InvalidSignature() from None
        if told["auth_algo"].upper() != ALGORITHM:
            return None
        key = self._key(told["cert_url"])
        if key is None:
            return None
        message = "|".join([*parts, webhook_id, str(zlib.crc32(body))])
        try:
            key.verify(signature, message.encode(), PKCS1v15(), SHA256())
        except Mismatch:
            return False
        return True

    def may_be_fetched(self, url: str) -> bool:
        """Whether a certificate may stand there: at PayPal, or where the interface is."""
        if AT_PAYPAL.fullmatch(url):
            return True
        own = re.escape(self._base_url)
        return bool(re.fullmatch(own + PATH, url))

    def _key(self, url: str) -> RSAPublicKey | None:
        with self._lock:
            kept = self._kept.get(url)
            if kept is not None and self._now() < kept[1]:
                self._kept.move_to_end(url)
                return kept[0]
            if time.monotonic() < self._rest_until:
                return None
        try:
            found = self._checked(self._fetch(url))
        except (AddressRefused, ValueError) as exc:
            log.warning("PayPal's certificate is not used", url=url, error=str(exc)[:300])
            with self._lock:
                self._failures += 1
                if self._failures >= FAILURES:
                    self._failures, self._rest_until = 0, time.monotonic() + REST_S
            return None
        with self._lock:
            self._failures = 0
            self._kept[url] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found[0]

    def _fetch(self, url: str) -> bytes:
        """What stands there. Raises AddressRefused, or ValueError where nothing does."""
        from paydesk.outgoing import Guard, Unreachable

        host = urlsplit(self._base_url).hostname or ""
        is_local = host in ("127.0.0.1", "::1", "localhost") and url.startswith(self._base_url)
        try:
            answer = Guard(allow_loopback=is_local).request(
                "GET", url, timeout_s=self._timeout_s, max_bytes=MOST_BYTES
            )
        except Unreachable as exc:
            raise ValueError(str(exc)) from exc
        if answer.status != 200 or answer.is_cut:
            raise ValueError(f"It was answered with {answer.status}.")
        return answer.body

    def _checked(self, pem: bytes) -> tuple[RSAPublicKey, datetime]:
        """The key that PayPal signs by, and until when. Raises ValueError where it is none."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.x509.verification import PolicyBuilder, VerificationError

        leaf, *between = x509.load_pem_x509_certificates(pem)
        policy = PolicyBuilder().store(authorities()).time(self._now())
        try:
            chain = policy.max_chain_depth(MOST_LINKS).build_server_verifier(
                x509.DNSName(self._name)
            ).verify(leaf, between[:MOST_LINKS])  # fmt: skip
        except VerificationError as exc:
            raise ValueError(f"It leads to no authority: {exc}") from None
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey):
            raise ValueError("Its key is no RSA key.")
        return key, min(one.not_valid_after_utc for one in chain)


@cache
def authorities() -> Store:
    """Whom we trust, as for every call to a provider."""
    import httpx
    from cryptography import x509
    from cryptography.x509.verification import Store

    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some old authorities have odd serial numbers.
        for raw in httpx.create_ssl_context().get_ca_certs(binary_form=True):
            try:
                found.append(x509.load_der_x509_certificate(raw))
            except ValueError:
                continue
    return Store(found)
