"""Takes the pictures of the documentation from a real desk: `python tools/pictures.py`, those of
papers alone with `papers` behind it.

Starts `paydesk dev`, lets invented people buy, spreads their purchases over two months (only the
dates are moved, and the figures computed anew), and photographs pages in both themes into
docs/images.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "kit"), str(ROOT / "src")]

import psycopg  # noqa: E402
from browsing import open_chromium  # noqa: E402
from desk_billing import fill_billing  # noqa: E402
from desk_process import Desk  # noqa: E402
from desk_shop import fill  # noqa: E402
from psycopg import sql  # noqa: E402

from paydesk.db import embedded  # noqa: E402

IMAGES = ROOT / "docs" / "images"
DAYS = 60
PUBLIC, SELLER = "https://pay.northwind.example", "12 Wharf Street\nMontréal QC H2K 1V8\nCanada"
BUYER = {
    "name": "Rosa Marchetti", "email": "rosa@atelier.example", "country": "CA",
    "address": "418 Avenue Laurier\nMontréal QC H2V 2K9",
}  # fmt: skip
#: Height of a picture where it is less than the screen's.
HEIGHTS = {"checkout": 720, "change": 720, "invoice": 720}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        desk = Desk(Path(folder) / "shop", environ={"MAX_CREDIT_BALANCE": "1000000"}).wait()
        try:
            ids = fill(desk, purchases=110)
            billing = fill_billing(desk, ids["paid"])
            bill = desk.api("GET", f"/v1/invoices/{billing['open_invoice']}")
            changed = f"/dashboard/subscriptions/{billing['subscription']}/change"
            fresh = {
                "payment": f"/dashboard/payments/{ids['paid']['payment']['id']}",
                "checkout": ids["waiting"]["page_url"].removeprefix(desk.url),
                "change": f"{changed}?plan=agency&quantity=2&at=now",
                "invoice": bill["hosted_url"].removeprefix(desk.url),
            }
            with open_chromium() as browser:
                take(browser, desk, fresh)
                spread(desk)
                take(browser, desk, {"overview": "/dashboard"})
        finally:
            desk.close()


def papers() -> None:
    """An invoice with taxes and a discount that was paid, and a credit note of it."""
    from paydesk import USD, Paydesk, Settings
    from paydesk.providers.stripe import SIMULATOR_KEY
    from paydesk.simulator.testing import running_simulator
    from paydesk.testing import databases
    from paydesk.testing.desk_clock import DeskClock

    secret, clock = "whsec_of_the_pictures", DeskClock(datetime(2026, 3, 10, 15, tzinfo=UTC))
    with (
        running_simulator(secret=secret, secret_key=SIMULATOR_KEY) as simulator,
        databases.lent_database() as made,
        tempfile.TemporaryDirectory() as folder,
    ):
        settings = Settings(
            database_url=made.dsn, data_dir=folder, simulator_url=simulator.url,
            stripe_webhook_secret=secret, business_address=SELLER, public_url=PUBLIC,
            business_tax_id="81234 5678 RT0001", business_email="billing@northwind.example",
        )  # fmt: skip
        with Paydesk(settings, clock=clock, background=False) as pay:
            pay.tax_rates.add("GST", "5", country="CA")
            pay.tax_rates.add("QST", "9.975", country="CA")
            one = pay.invoices.create(
                "rosa", [("Studio, by the seat", USD("39.99"), 3), ("Onboarding", USD("450.00"))],
                percent_off=15, buyer=BUYER, days=14, memo="Thank you for the workshop.",
            )  # fmt: skip
            session = pay.invoices.checkout(one)
            simulator.pay(session.payment.provider_session)
            pay.verify(session)
            note = pay.credit_notes.create(one, USD("50.00"), reason="duplicate")
            picture("invoice-paper", pay.invoices.pdf(one))
            picture("credit-note-paper", pay.credit_notes.pdf(note))


def picture(name: str, paper: bytes) -> None:
    """The upper three quarters of a paper's first page."""
    import pypdfium2

    page = pypdfium2.PdfDocument(paper)[0]
    whole = page.render(scale=1.5).to_pil()
    path = IMAGES / f"{name}.png"
    whole.crop((0, 0, whole.width, whole.height * 3 // 4)).save(path)
    shrink(path)


def spread(desk: Desk, seed: int = 3) -> None:
    """Give purchases dates in the last two months, more of them towards today."""
    rng = random.Random(seed)
    server = embedded.start(desk.folder / "data")
    try:
        with psycopg.connect(server.owner_dsn) as conn:
            found = conn.execute("select customer_id, id from payments order by created_at")
            rows = found.fetchall()
            for number, key in enumerate(rows[:-6]):
                share = number / len(rows)
                back = DAYS * (1 - share**0.8) + rng.uniform(-1.5, 0.3)
                at = datetime.now(UTC) - timedelta(days=max(back, 0.01))
                for table, column in (("payments", "id"), ("attempts", "payment_id")):
                    conn.execute(
                        sql.SQL("update {} set created_at = %s where customer_id = %s and {} = %s")
                        .format(sql.Identifier(table), sql.Identifier(column)), (at, *key),
                    )  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "paydesk", "report", "rebuild"], check=True, cwd=desk.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "DATABASE_URL": server.owner_dsn},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    finally:
        server.stop()


def take(browser, desk: Desk, pages: dict[str, str]) -> None:
    for theme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": 1440, "height": 1080}, color_scheme=theme, device_scale_factor=1
        )
        page = context.new_page()
        for name, path in pages.items():
            page.set_viewport_size({"width": 1440, "height": HEIGHTS.get(name, 1080)})
            page.goto(desk.url + path)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=IMAGES / f"{name}-{theme}.png")
            shrink(IMAGES / f"{name}-{theme}.png")
        context.close()


def shrink(path: Path) -> None:
    """To 256 colors, a third of the size, where Pillow is installed."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as picture:
        less = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    less.save(path, optimize=True)


if __name__ == "__main__":
    papers()
    if "papers" not in sys.argv:
        main()
    print(json.dumps(sorted(path.name for path in IMAGES.iterdir())))
