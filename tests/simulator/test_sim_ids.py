"""The simulator's ids: no two processes make the same."""

from __future__ import annotations

import subprocess
import sys

FORKED = """
import os
from paydesk.simulator import ids

ids.token(24)
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, ids.token(24).encode())
    os._exit(0)
ours = ids.token(24)
os.wait()
print(ours != os.read(read, 24).decode(), len(ours))
"""


def test_a_forked_process_makes_ids_of_its_own():
    said = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert said == ["True", "24"]
