"""`paydesk simulator`: the simulator alone, or paying a session of the one that runs."""

from __future__ import annotations

import os
from pathlib import Path

from paydesk.cli.context import read_json


def run(arguments: list[str]) -> int:
    """Hand over to the simulator's own command line; `pay` finds the desk's simulator by itself."""
    from paydesk import sources
    from paydesk.simulator import cli

    if arguments[:1] == ["pay"] and not os.environ.get(cli.BASE_VARIABLE):
        settings = sources.load().settings
        note = read_json(Path(settings.data_dir) / "simulator.json")
        url = settings.simulator_url or note.get("url")
        if url:
            os.environ[cli.BASE_VARIABLE] = str(url)
    return cli.main(arguments)
