"""Fetches what the pages serve of others' work: fonts and icons, with licences and hashes.

Run it by hand after changing a version: `python tools/vendor.py`. It needs npm; the files and
`VENDOR.toml` beside them are checked in, and a test recomputes the hashes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "src/paydesk/pages/static/vendor"
FONT = ("@fontsource-variable/inter", "5.3.0", "OFL-1.1")
ICONS = ("lucide-static", "1.62.0", "ISC")
FONT_FILES = ["inter-latin-wght-normal.woff2", "inter-latin-ext-wght-normal.woff2"]
#: Names of lucide's icons that the pages use.
ICON_NAMES = """
activity arrow-left-right arrow-right badge-check ban book-open calendar calendar-clock chart-column
check chevron-down chevron-right circle-check circle-x clock coins copy credit-card download
external-link file-pen file-text flask-conical gift git-compare hourglass house inbox info key-round
layers layout-dashboard list loader lock log-out mail menu moon package pause play plus receipt
repeat rotate-ccw scale search send shield-alert shopping-cart sun terminal ticket ticket-percent
triangle-alert undo-2 user users wallet webhook x
""".split()


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, tuple[str, str, str]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        font = unpack(FONT, Path(scratch) / "font")
        for name in FONT_FILES:
            shutil.copyfile(font / "files" / name, TARGET / name)
            rows.append((name, FONT))
        shutil.copyfile(font / "LICENSE", TARGET / "inter-license.txt")
        rows.append(("inter-license.txt", FONT))
        icons = unpack(ICONS, Path(scratch) / "icons")
        (TARGET / "lucide.svg").write_text(sprite(icons / "icons"))
        rows.append(("lucide.svg", ICONS))
        shutil.copyfile(icons / "LICENSE", TARGET / "lucide-license.txt")
        rows.append(("lucide-license.txt", ICONS))
    (TARGET / "VENDOR.toml").write_text(manifest(rows))


def unpack(package: tuple[str, str, str], folder: Path) -> Path:
    folder.mkdir()
    command = ["npm", "pack", "--silent", f"{package[0]}@{package[1]}"]
    archive = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    with tarfile.open(folder / archive.stdout.strip().splitlines()[-1]) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def sprite(folder: Path) -> str:
    """One file of symbols: the drawing inside each icon's svg element."""
    symbols = []
    for name in ICON_NAMES:
        text = (folder / f"{name}.svg").read_text()
        drawing = re.search(r"<svg[^>]*>(.*)</svg>", text, re.S)
        assert drawing, name
        inner = re.sub(r"\s*\n\s*", "", drawing[1].strip())
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{inner}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def manifest(rows: list[tuple[str, tuple[str, str, str]]]) -> str:
    lines = ["# Files of others' work, made by tools/vendor.py; a test recomputes the hashes.\n"]
    for name, (package, version, license_name) in rows:
        digest = hashlib.sha256((TARGET / name).read_bytes()).hexdigest()
        lines.append(
            f'[files."{name}"]\npackage = "{package}"\nversion = "{version}"\n'
            f'license = "{license_name}"\nsha256 = "{digest}"\n'
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
