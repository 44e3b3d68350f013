"""The command line: serve the simulator, pay a session of a running one, trigger events."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

DEFAULT_PORT = 12111
DEFAULT_CARD = "4242424242424242"
BASE_VARIABLE = "PAYDESK_SIMULATOR_URL"


@dataclass(frozen=True)
class Payment:
    """How paying a session went: `status` is complete, declined, authentication_failed, expired,
    invalid or unknown; `url` is where the customer would be sent."""

    status: str
    url: str | None = None
    message: str | None = None
    code: str | None = None
    decline_code: str | None = None

    @property
    def complete(self) -> bool:
        return self.status == "complete"


def pay(
    session_id: str,
    card: str = DEFAULT_CARD,
    base_url: str | None = None,
    *,
    approve: bool = True,
    email: str = "buyer@example.com",
    wallet: str | None = None,
) -> Payment:
    """Pay a session over HTTP as its page would; 3-D Secure is approved, or failed on request.

    `wallet` is apple_pay or google_pay where the card is to come out of one.

    Raises httpx.HTTPError where the simulator cannot be reached.
    """
    import httpx

    base = base_url or os.environ.get(BASE_VARIABLE) or f"http://127.0.0.1:{DEFAULT_PORT}"
    fields = {
        "email": email, "name": "Ada Buyer", "number": card, "expiry": "12 / 40", "cvc": "123",
        "wallet": wallet or "",
    }
    with httpx.Client(
        base_url=base, headers={"Accept": "application/json"}, trust_env=False, timeout=30,
        verify=base.startswith("https"),  # loading certificates takes longer than the payment
    ) as client:
        answer = client.post(f"/c/pay/{session_id}", data=fields).json()
        if answer.get("status") == "requires_action":
            outcome = {"outcome": "complete" if approve else "fail"}
            answer = client.post(urljoin(base, answer["url"]), data=outcome).json()
    known = {"status", "url", "message", "code", "decline_code"}
    return Payment(**{name: value for name, value in answer.items() if name in known})


def authenticate(url: str, base_url: str | None = None, *, approve: bool = True) -> Payment:
    """Confirm a charge on the bank's page at `url`, or fail it, as its payer would. Answers with
    the address that the page leads back to.

    Raises httpx.HTTPError where the simulator cannot be reached.
    """
    import httpx

    base = base_url or os.environ.get(BASE_VARIABLE) or f"http://127.0.0.1:{DEFAULT_PORT}"
    with httpx.Client(
        headers={"Accept": "application/json"}, trust_env=False, timeout=30,
        verify=base.startswith("https"),
    ) as client:
        outcome = {"outcome": "complete" if approve else "fail"}
        answer = client.post(urljoin(base, url), data=outcome).json()
    return Payment(answer["status"], answer.get("url"), answer.get("message"))


def main(argv: list[str] | None = None) -> int:
    """`--port N …` serves; `pay SESSION_ID …` pays; `trigger TYPE …` makes an event happen. Returns
    the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["pay"]:
        return _pay_command(argv[1:])
    if argv[:1] == ["trigger"]:
        return _trigger_command(argv[1:])
    return _serve_command(argv)


def _pay_command(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="paydesk simulator pay", description="Pay a Checkout Session of a running simulator."
    )
    parser.add_argument("session_id")
    parser.add_argument("--card", default=DEFAULT_CARD, help="number of a Stripe test card")
    parser.add_argument("--base", help=f"address of the simulator (or {BASE_VARIABLE})")
    parser.add_argument("--wallet", choices=["apple_pay", "google_pay"],
                        help="the card comes out of a wallet")
    parser.add_argument("--fail-3ds", action="store_true", help="fail 3-D Secure, not approve it")
    given = parser.parse_args(argv)
    import httpx

    try:
        result = pay(given.session_id, given.card, given.base, approve=not given.fail_3ds,
                     wallet=given.wallet)
    except (httpx.HTTPError, ValueError) as error:
        print(f"The simulator does not answer: {error}", file=sys.stderr)
        return 2
    if result.complete:
        print(f"paid: {given.session_id}\nthen: {result.url}")
        return 0
    reason = f" ({result.decline_code or result.code})" if result.code else ""
    print(f"{result.status}{reason}: {result.message or given.session_id}", file=sys.stderr)
    return 1


def _trigger_command(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="paydesk trigger",
        description="Make an event happen in a running simulator, with those that come with it.",
        epilog="A type that is not listed is told of --of, of --object, or of a made-up object.",
    )
    parser.add_argument("type", nargs="?", help="such as charge.refunded; none lists them")
    parser.add_argument("--of", metavar="ID", help="the object that it happens to, as cs_… or pi_…")
    parser.add_argument("--amount", type=int, help="of what is made, in minor units (2000)")
    parser.add_argument("--currency", help="of what is made (usd)")
    parser.add_argument("--card", help="the test card's number that pays")
    parser.add_argument("--object", metavar="FILE", help="JSON that is told as it is; - reads it")
    parser.add_argument("--api-version", dest="version", metavar="VERSION",
                        help="shapes of this API version, such as 2020-08-27")
    parser.add_argument("-o", "--output", choices=["table", "json"], help="json when piped")
    parser.add_argument("--base", help=f"address of the simulator (or {BASE_VARIABLE})")
    given = vars(parser.parse_args(argv))
    base = given.pop("base") or os.environ.get(BASE_VARIABLE) or f"http://127.0.0.1:{DEFAULT_PORT}"
    output = given.pop("output") or ("table" if sys.stdout.isatty() else "json")
    import httpx

    try:
        if given["object"]:
            given["object"] = _read_json(given["object"])
        told = {name: value for name, value in given.items() if value is not None}
        with httpx.Client(base_url=base, trust_env=False, timeout=30,
                          verify=base.startswith("https")) as client:
            answer = client.post("/_sim/trigger", json=told) if given["type"] else client.get(
                "/_sim/trigger")  # fmt: skip
            body = answer.json()
    except OSError as error:
        print(f"The object cannot be read: {error.strerror or error}", file=sys.stderr)
        return 2
    except httpx.HTTPError as error:
        print(f"The simulator does not answer: {error}", file=sys.stderr)
        return 3
    except ValueError as error:
        print(f"That is no JSON: {error}", file=sys.stderr)
        return 2
    if answer.status_code >= 400:
        print(body["error"]["message"], file=sys.stderr)
        return 1
    for line in _trigger_lines(body, output):
        print(line)
    return 0


def _read_json(name: str) -> Any:
    if name == "-":
        return json.load(sys.stdin)
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def _trigger_lines(body: dict[str, Any], output: str) -> list[str]:
    """The types there are, or the events that came of one."""
    if "types" in body:
        return body["types"] if output == "table" else [json.dumps(t) for t in body["types"]]
    if output == "json":
        return [json.dumps(event) for event in body["data"]]
    width = max(len(event["type"]) for event in body["data"])
    return [
        f"{event['type']:{width}}  {event['id']}  {event['data']['object'].get('id', '')}"
        for event in body["data"]
    ]


def _webhook(text: str) -> tuple[str, str]:
    """URL=SECRET; both may hold further `=`, so the secret's own prefix decides where it begins."""
    if "=whsec_" in text:
        url, equals, secret = text.partition("=whsec_")
        secret = f"whsec_{secret}"
    else:
        url, equals, secret = text.rpartition("=") if "?" in text else text.partition("=")
    if not equals or not url.startswith(("http://", "https://")) or not secret:
        raise argparse.ArgumentTypeError("give URL=SECRET")
    return url, secret


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="paydesk simulator",
        description="A Stripe that runs on this machine: API, checkout page, webhooks.",
        epilog="`paydesk simulator pay SESSION_ID [--card NUMBER]` pays a session;"
        " `paydesk trigger TYPE` makes an event happen.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument("--fd", type=int, help="an inherited listening socket, instead of a port")
    parser.add_argument("--db", default=":memory:", help="a file keeps objects across restarts")
    parser.add_argument("--secret-key", help="the only key taken (default: any sk_test_ key)")
    parser.add_argument("--webhook", type=_webhook, action="append", default=[],
                        metavar="URL=SECRET", help="where events go and what signs them")
    parser.add_argument("--webhook-version", metavar="VERSION",
                        help="API version of what is sent there, such as 2020-08-27")
    parser.add_argument("--base-url", default="", help="what links point at")
    parser.add_argument("--merchant", default="Sandbox shop", help="name on the checkout page")
    parser.add_argument("--exit-on-stdin-eof", action="store_true",
                        help="stop when standard input ends")
    return parser


def _serve_command(argv: list[str]) -> int:
    given = _parser().parse_args(argv)
    from . import server
    from .app import create_app
    from .config import Config, Webhook

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        sock = (
            server.inherited(given.fd) if given.fd is not None
            else server.listen(given.host, given.port)
        )
    except OSError as error:
        print(f"Port {given.port} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    host, port = sock.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    config = Config(
        db=given.db, secret_key=given.secret_key, merchant=given.merchant,
        base_url=(given.base_url or address).rstrip("/"),
        webhooks=tuple(
            Webhook(url, secret, api_version=given.webhook_version)
            for url, secret in given.webhook
        ),
    )
    running = server.server(create_app(config))
    if given.exit_on_stdin_eof:
        server.stop_at_stdin_eof(running)
    print(f"simulator: {address}", flush=True)
    running.run(sockets=[sock])
    return 0
