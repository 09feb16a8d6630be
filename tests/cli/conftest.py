"""Fixtures for the tests of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.cli import KEY

if TYPE_CHECKING:
    from pandium.emulator import Emulator


@pytest.fixture
def api_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables with which a command uses the emulator."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
