"""Takes the pictures of the documentation from a real desk: `python tools/pictures.py`.

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
    main()
    print(json.dumps(sorted(path.name for path in IMAGES.iterdir())))
