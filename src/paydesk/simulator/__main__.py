"""`python -m paydesk.simulator`: the simulator alone."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
