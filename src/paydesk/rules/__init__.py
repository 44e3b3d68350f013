"""Pure functions: no input or output, no clock, integers only."""
