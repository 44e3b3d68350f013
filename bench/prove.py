"""The long forms of the proofs: every test marked `prove`, with PAYDESK_PROVE=1 and no time-out."""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> int:
    environ = {**os.environ, "PAYDESK_PROVE": "1"}
    told = sys.argv[1:]
    command = [sys.executable, "-m", "pytest", "-m", "prove", "--timeout", "5400", "-v"]
    if not any(a.startswith("-n") for a in told):
        command += ["-n", "2"]
    return subprocess.run([*command, *told], env=environ).returncode


if __name__ == "__main__":
    sys.exit(main())
