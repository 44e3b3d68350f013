"""A process that does nothing but sweeps: what it loaded is settled, and it still frees cycles."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc, weakref
from paydesk.worker import settle_in

class Node:
    pass

settle_in()
print(gc.isenabled(), gc.get_freeze_count() > 10_000)
seen = []
for _ in range(200_000):  # Each a cycle, that only the collector can free.
    one = Node()
    one.itself = one
    seen.append(weakref.ref(one)) if len(seen) < 10 else None
del one
print(any(one() is None for one in seen))
"""


def test_what_is_loaded_is_settled_and_cycles_are_freed_all_the_same():
    said = subprocess.run(
        [sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert said == ["True", "True", "True"]
