"""Certificates as PayPal's: an authority, one between, and the one that signs webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import Store

NAME = "messageverificationcerts.paypal.com"


@dataclass(frozen=True)
class Issued:
    """A certificate with its key; `chain` is it and what is between it and its authority."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))


@cache
def _key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def authority(number: int = 0) -> Issued:
    return _issue(f"Harbor Root {number}", _key(number), None, is_authority=True)


@cache
def between() -> Issued:
    return _issue("Harbor Issuing 1", _key(10), authority(), is_authority=True)


@cache
def signer() -> Issued:
    return certificate()


def certificate(
    name: str = NAME, *, by: Issued | None = None, days: tuple[int, int] = (-1, 90)
) -> Issued:
    """One that signs, with the key that all of them have; valid from and until so many days off."""
    issuer = by or between()
    made = _issue(name, _key(20), issuer, is_authority=False, days=days)
    above = () if issuer.certificate.issuer == issuer.certificate.subject else (issuer.certificate,)
    return Issued(made.key, made.certificate, above)


def trusted(*roots: Issued) -> Store:
    return Store([one.certificate for one in roots or (authority(),)])


def _issue(
    name: str, key: rsa.RSAPrivateKey, by: Issued | None, *, is_authority: bool,
    days: tuple[int, int] = (-900, 900),
) -> Issued:  # fmt: skip
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    above = by.certificate.subject if by else subject
    signing = by.key if by else key
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(above)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
                       critical=False)
        .add_extension(x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=not is_authority,
            data_encipherment=False, key_agreement=False, key_cert_sign=is_authority,
            crl_sign=is_authority, encipher_only=False, decipher_only=False), critical=True)
    )  # fmt: skip
    if not is_authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made = made.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
    return Issued(key, made.sign(signing, SHA256()))
