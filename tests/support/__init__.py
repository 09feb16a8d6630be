"""Helpers shared by the tests: servers, clocks, child processes and the API key to send."""

KEY = "a-key-of-the-tests"
