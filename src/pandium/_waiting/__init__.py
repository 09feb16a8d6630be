"""_waiting."""
