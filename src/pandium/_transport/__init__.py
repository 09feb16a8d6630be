"""_transport."""
