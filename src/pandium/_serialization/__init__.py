"""_serialization."""
