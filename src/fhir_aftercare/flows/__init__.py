"""One file, one data flow, readable top to bottom."""
