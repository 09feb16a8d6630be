"""What the tests share: servers, clocks, child processes, and the key that they send."""

KEY = "a-key-of-the-tests"
