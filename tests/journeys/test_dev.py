"""`paydesk dev` from the first start to a power cut: the first ten minutes of somebody."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from desk_process import KEY, Desk, eventually

from paydesk.simulator.cli import pay

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    running = Desk(tmp_path_factory.mktemp("shop"))
    try:
        yield running.wait()
    finally:
        running.close()
    eventually(lambda: not running.processes(), what="something still runs")


def jwt_of(desk: Desk, user: str, **claims) -> str:
    """A token as an application would make it, with a library that Paydesk does not use."""
    from joserfc import jwt
    from joserfc.jwk import OctKey

    secret = desk.note("development.json")["jwt_secret"]
    now = int(time.time())
    body = {"sub": user, "iat": now, "exp": now + 600, **claims}
    return jwt.encode({"alg": "HS256"}, body, OctKey.import_key(secret))


# S1.56!
def test_a_purchase_along_document_002(desk):  # S2.9 S2.10 S2.13 S2.15 S2.16 S1.56
    token = jwt_of(desk, "buyer-002")
    made = desk.api("POST", "/api/credits/checkout/package",
                    {"package_id": "creator", "coupon_code": "WELCOME10"}, key=token)  # fmt: skip
    assert made.keys() >= {"checkout_url", "session_id", "payment_id"}
    pay(made["session_id"], base_url=desk.simulator)
    verified = desk.api("POST", "/api/credits/verify-payment",
                        {"session_id": made["session_id"]}, key=token)  # fmt: skip
    assert (verified["success"], verified["payment_verified"]) == (True, True)
    assert verified["new_balance"] == 150
    history = desk.api("GET", "/api/credits/payment-history?page=1&page_size=20&status=completed",
                       key=token)  # fmt: skip
    assert history["total_count"] == 1
    assert history["payments"][0]["amount_cents"] == 899
    stats = desk.api("GET", "/api/credits/payment-stats", key=token)
    assert stats["total_credits_purchased"] == 150


# S1.56!
def test_a_purchase_along_document_004(desk):  # S4.10 S4.12 S4.26 S4.27 S1.56 S4.42
    token = jwt_of(desk, "buyer-004")
    packs = desk.api("GET", "/payment/credit-packs", key=token)
    text = json.dumps(packs)
    assert "Creator Pack" in text
    made = desk.buy("buyer-004")
    eventually(lambda: desk.api("GET", f"/v1/checkouts/{made['id']}")["payment"]["credits_added"])
    balance = desk.api("GET", "/payment/credits/balance", key=token)
    assert "150" in json.dumps(balance)


def test_the_screen_says_what_there_is_and_tells_each_event(desk):
    screen = desk.screen()
    for word in ("/dashboard", "/v1", KEY, "/docs", "4242 4242 4242 4242", "embedded PostgreSQL"):
        assert word in screen, word
    checkout = re.search(r"http://\S+/checkout/cs_\S+", screen)
    assert checkout
    page = desk.client.get(checkout[0], headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "$8.99" in page.text
    token = re.search(r"eyJ[\w.-]+", screen)
    assert token
    assert desk.api("GET", "/v1/credits/balance", key=token[0])["balance"] >= 0
    desk.buy("event-reader")
    eventually(lambda: "payment.succeeded" in desk.screen())
    eventually(lambda: "credits.granted" in desk.screen())


def test_its_secrets_are_readable_by_their_owner_alone(desk):
    path = desk.folder / "data" / "development.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = json.loads(path.read_text())
    assert len(kept["jwt_secret"]) >= 32
    assert kept["stripe_webhook_secret"].startswith("whsec_")


def paydesk(desk: Desk, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PAYDESK_", "DATABASE"))}
    environ |= {"PAYDESK_DATA_DIR": str(desk.folder / "data"),
                "PYTHONPATH": str(SOURCE)}  # fmt: skip
    return subprocess.run([sys.executable, "-m", "paydesk", *arguments], capture_output=True,
                          text=True, env=environ, cwd=desk.folder, timeout=120)  # fmt: skip


def test_other_commands_work_beside_it(desk):
    made = desk.api("POST", "/v1/checkouts", {"customer": "user_5", "pack": "starter"})
    done = paydesk(desk, "simulator", "pay", made["payment"]["provider_session_id"])
    assert done.returncode == 0, done.stderr
    eventually(lambda: desk.api("GET", f"/v1/checkouts/{made['id']}")["status"] == "complete")
    listed = paydesk(desk, "payments", "list", "--customer", "user_5")
    assert json.loads(listed.stdout)["status"] == "succeeded", listed.stderr
    token = paydesk(desk, "token", "user_5").stdout.strip()
    assert desk.api("GET", "/v1/credits/balance", key=token)["balance"] == 50
    rows = [json.loads(line) for line in paydesk(desk, "config").stdout.splitlines()]
    found = {row["setting"]: row for row in rows}
    assert "development" in found["jwt_secret"]["from"]
    assert found["port"]["value"] == desk.url.rpartition(":")[2]
    assert paydesk(desk, "doctor").returncode == 0


def test_ctrl_c_stops_everything_and_leaves_the_data(tmp_path):
    desk = Desk(tmp_path / "shop").wait()
    desk.buy("stays")
    assert desk.close() == 0
    eventually(lambda: not desk.processes(), what=f"still running: {desk.processes()}")
    assert "Stopped" in desk.screen()
    assert not desk.note("running.json")


def test_after_kill_nine_nothing_runs_and_the_next_start_finds_everything(tmp_path):  # I5 I25
    desk = Desk(tmp_path / "shop").wait()
    made = desk.buy("survivor")
    eventually(lambda: desk.api("GET", f"/v1/checkouts/{made['id']}")["payment"]["credits_added"])
    open_ = desk.api("POST", "/v1/checkouts", {"customer": "survivor", "pack": "starter"})
    desk.kill()
    eventually(lambda: not desk.processes(), what=f"still running: {desk.processes()}")
    again = Desk(tmp_path / "shop").wait()
    try:
        balance = again.api("GET", "/v1/credits/balance?customer=survivor")
        assert balance["balance"] == 150
        # The purchase that was open when the power went can still be paid: the sandbox kept it.
        pay(open_["payment"]["provider_session_id"], base_url=again.simulator)
        where = f"/v1/checkouts/{open_['id']}"
        eventually(lambda: again.api("POST", f"{where}/verify")["payment"]["credits_added"])
        assert again.api("GET", "/v1/credits/balance?customer=survivor")["balance"] == 200
        assert paydesk(again, "doctor").returncode == 0
    finally:
        again.close()
    eventually(lambda: not again.processes())


def test_a_second_start_of_the_same_folder_says_where_the_first_is(desk):
    second = paydesk(desk, "dev", "--data-dir", str(desk.folder / "data"))
    assert second.returncode == 1
    assert "runs already" in second.stderr
    assert desk.url.rpartition(":")[2] in second.stderr
    assert desk.api("GET", "/v1/packs")["data"]


def test_a_port_in_use_gives_way_to_the_next_and_is_told(tmp_path):  # C29
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        desk = Desk(tmp_path / "shop", "--port", str(port), "--no-demo").wait()
        try:
            assert desk.note("running.json")["port"] != port
            assert f"Port {port} is taken" in desk.screen()
            assert desk.api("GET", "/v1/packs")["data"] == []
        finally:
            desk.close()


def test_a_live_key_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "paydesk", "dev", "--data-dir", str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "STRIPE_SECRET_KEY": "sk_live_x"},
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "live key" in done.stderr
