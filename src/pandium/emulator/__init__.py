"""
A stateful Pandium on a loopback socket, for tests and demonstrations.

It shares no code with the client: it is a reading of the API of its own.
"""

from pandium.emulator._clock import Clock
from pandium.emulator._connectors import ConnectorRequest, Connectors, UpstreamFailure
from pandium.emulator._driven import DrivenClock
from pandium.emulator._emulator import Emulator
from pandium.emulator._journal import Journal, Request
from pandium.emulator._phases import Looks, Phase
from pandium.emulator._records import Integration, Release, Tenant
from pandium.emulator._runs import Runs

__all__ = [
    "Clock",
    "ConnectorRequest",
    "Connectors",
    "DrivenClock",
    "Emulator",
    "Integration",
    "Journal",
    "Looks",
    "Phase",
    "Release",
    "Request",
    "Runs",
    "Tenant",
    "UpstreamFailure",
]
