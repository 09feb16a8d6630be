"""Records and texts for tests of the command line's output."""

from __future__ import annotations

from pandium.models import Integration, IntegrationType

__all__ = ["HOSTILE", "make_integration"]

# An escape sequence, a bell, a C1 control, a bidirectional override, a lone surrogate, a newline.
HOSTILE = "\x1b[31mred\x07\x9b2J\u202egnp.exe\ud800\r\n"


def make_integration(integration_id: int, name: str) -> Integration:
    return Integration(integration_id, name, name, IntegrationType.EXTERNAL)
