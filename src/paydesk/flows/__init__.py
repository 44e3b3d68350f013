"""Transaction scripts: what happens, in order, with its SQL beside it."""
