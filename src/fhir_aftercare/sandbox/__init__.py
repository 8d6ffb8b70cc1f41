"""A pretend EHR for the first minute, development and fast tests."""
