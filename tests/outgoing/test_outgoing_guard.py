"""The guard of outgoing calls: what it refuses, and how it bounds what it lets out."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from receiver import receiving

from paydesk import outgoing
from paydesk.errors import AddressRefused
from paydesk.outgoing import Guard, Unreachable, guard_of
from paydesk.settings import Settings

STRICT = Guard()
SANDBOX = Guard(allow_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        # this machine and private networks
        "https://127.0.0.1/", "https://127.8.9.1/", "https://0.0.0.0/", "https://10.0.0.1/",
        "https://172.16.0.9/", "https://192.168.1.1/", "https://100.64.0.1/",
        "https://localhost/", "https://LOCALHOST./", "https://desk.localhost/",
        # metadata services of clouds
        "https://169.254.169.254/latest/meta-data/", "https://169.254.170.2/",
        "https://100.100.100.200/", "https://168.63.129.16/", "https://[fd00:ec2::254]/",
        # multicast, broadcast, reserved, documentation
        "https://224.0.0.1/", "https://255.255.255.255/", "https://240.0.0.1/",
        "https://192.0.2.1/", "https://198.18.0.1/", "https://203.0.113.7/",
        # IPv6: loopback, any, link-local, unique local, multicast, mapped, translated, tunnels
        "https://[::1]/", "https://[::]/", "https://[fe80::1]/", "https://[fc00::1]/",
        "https://[ff02::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
        "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "https://[2001:db8::1]/",
        "https://[fe80::1%25eth0]/",
        # one number in other clothes
        "https://2130706433/", "https://017700000001/", "https://0x7f000001/",
        "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/", "https://127.0.0.1./",
        "https://127.0.1/", "https://\u2460\u2461\u2466.0.0.1/",
        # not https, other ports, other schemes, credentials, what parsers disagree about
        "http://hooks.example.com/", "https://hooks.example.com:22/",
        "https://hooks.example.com:5432/", "ftp://hooks.example.com/", "file:///etc/hostname",
        "gopher://hooks.example.com/", "https:///nothing", "https://user@hooks.example.com/",
        "https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com /",
        "https://hooks.example.com/\r\nHost: inner", "https://hooks.example.com:99999/",
        "https://hooks..example.com/", "https://-/", "https://%31%32%37.0.0.1/", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_https_is_refused_before_any_name_is_asked(url):  # I36
    with pytest.raises(AddressRefused):
        STRICT.target(url)


@pytest.mark.parametrize("url", ["https://hooks.example.com/in?a=1", "https://8.8.8.8:8443/",
                                 "https://[2606:4700::6810:1]/x"])  # fmt: skip
def test_a_public_https_address_is_taken(url):  # I36
    assert STRICT.target(url).scheme == "https"


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "10.0.0.5"], ["::1"], ["::ffff:10.0.0.1"],
     ["0.0.0.0"], ["fe80::1%2"], ["2606:4700::6810:1", "fd00::1"]],
)  # fmt: skip
def test_a_public_name_with_any_inner_address_is_refused(answers):  # I36
    guard = Guard(resolve=lambda host, port: answers)
    with pytest.raises(AddressRefused):
        guard.request("POST", "https://hooks.example.com/in", body=b"{}")


def test_a_name_that_changes_between_check_and_use_is_asked_once_only(receiver):  # I36
    """The second answer of a rebinding name server is never seen."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    guard = replace(SANDBOX, resolve=resolve)
    found = guard.request("POST", f"http://hooks.localhost:{receiver.port}/in", body=b"{}")
    assert (found.status, asked) == (200, ["hooks.localhost"])
    assert receiver.got[0].headers["host"] == f"hooks.localhost:{receiver.port}"
    with pytest.raises(AddressRefused):
        guard.request("POST", f"http://hooks.localhost:{receiver.port}/in", body=b"{}")
    assert len(receiver.got) == 1


def test_a_name_of_this_machine_may_not_lead_elsewhere():  # I36
    guard = Guard(allow_loopback=True, resolve=lambda host, port: ["10.0.0.1"])
    with pytest.raises(AddressRefused):
        guard.request("GET", "http://hooks.localhost:9/")


def test_this_machine_is_called_where_the_sandbox_allows_it(receiver):
    found = SANDBOX.request("POST", f"{receiver.url}/in?x=1", body=b"{}",
                            headers={"content-type": "application/json"})  # fmt: skip
    assert (found.status, found.body, found.is_cut) == (200, b"ok", False)
    got = receiver.got[0]
    assert (got.method, got.path, got.body) == ("POST", "/in?x=1", b"{}")
    with pytest.raises(AddressRefused):
        SANDBOX.request("POST", "http://hooks.example.com/")
    with pytest.raises(AddressRefused):
        SANDBOX.request("POST", "https://10.0.0.1/")


def test_real_money_never_calls_this_machine():  # I36
    told = Settings(outgoing_loopback=True, stripe_secret_key="sk_live_" + "x" * 20)
    assert not guard_of(told).allow_loopback
    assert guard_of(Settings(outgoing_loopback=True)).allow_loopback
    assert guard_of(Settings(outgoing_ports="443, 9443")).ports == {443, 9443}


def test_a_developer_is_told_how_this_machine_is_reached():
    for url in ("http://127.0.0.1:3000/in", "http://localhost:3000/in", "https://localhost/in"):
        with pytest.raises(AddressRefused, match="paydesk listen --forward-to"):
            Guard().target(url)


def test_a_redirect_is_an_answer_and_is_not_followed(receiver):  # I36
    receiver.answer = lambda got: (302, b"")
    receiver.headers = {"location": f"{receiver.url}/secret"}
    assert SANDBOX.request("GET", receiver.url).status == 302
    assert [one.path for one in receiver.got] == ["/"]


def test_an_answer_is_read_up_to_its_cap(receiver):  # I36
    receiver.answer = lambda got: (200, b"x" * 5_000_000)
    found = SANDBOX.request("GET", receiver.url, max_bytes=1000)
    assert (len(found.body), found.is_cut) == (1000, True)


def test_a_header_cannot_smuggle_another(receiver):
    with pytest.raises(AddressRefused):
        SANDBOX.request("GET", receiver.url, headers={"x-note": "a\r\nx-role: admin"})
    assert not receiver.got


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_drips_is_given_up_in_time(drip):  # I36
    """Each byte comes before a read would time out; the whole call ends all the same."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            conn, _ = listening.accept()
            with conn:
                try:
                    conn.sendall(drip)
                    while not ended.wait(0.05):
                        conn.sendall(b"a")
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(Unreachable):
            SANDBOX.request("GET", url, timeout_s=0.5)
        ended.set()
        thread.join(5)
        assert not thread.is_alive()


def test_a_name_server_that_does_not_answer_is_given_up_in_time():  # I36
    ended = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        ended.wait(30)
        return ["8.8.8.8"]

    with pytest.raises(Unreachable, match="not resolved"):
        Guard(resolve=resolve).request("GET", "https://hooks.example.com/", timeout_s=0.2)
    ended.set()


def test_nobody_listening_is_told_as_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable):
        SANDBOX.request("GET", f"http://127.0.0.1:{port}/")


def certificate(name: str) -> tuple[bytes, bytes]:
    """A self-signed certificate of this name and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    try:
        named: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        named = x509.DNSName(name)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([named]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )  # fmt: skip


@pytest.mark.parametrize(("host", "is_taken"), [("hooks.localhost", True), ("127.0.0.1", False)])
def test_the_certificate_must_be_the_names_own(tmp_path, monkeypatch, host, is_taken):  # I36
    """The connection goes to the checked address, the certificate is checked for the name."""
    pem, key = certificate("hooks.localhost")
    (tmp_path / "both.pem").write_bytes(pem + key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    trusting = ssl.create_default_context(cadata=pem.decode())
    with receiving(serving) as receiver:
        url = f"https://{host}:{receiver.port}/"
        guard = replace(SANDBOX, resolve=lambda host, port: ["127.0.0.1"])
        with pytest.raises(Unreachable):
            guard.request("GET", url)  # Nobody trusts this certificate yet.
        monkeypatch.setattr(outgoing, "_tls", lambda: trusting)
        if is_taken:
            assert guard.request("GET", url).status == 200
        else:
            with pytest.raises(Unreachable):
                guard.request("GET", url)
        assert len(receiver.got) == is_taken
