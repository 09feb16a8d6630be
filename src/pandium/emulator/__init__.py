"""
A stateful Pandium on a loopback socket, for tests and demonstrations.

It shares no code with the client: it is a reading of the API of its own.
"""

from pandium.emulator._clock import Clock
from pandium.emulator._connectors import Connectors
from pandium.emulator._drift import Drift
from pandium.emulator._emulator import Emulator
from pandium.emulator._faults import (
    Faults,
    Garbage,
    Latency,
    ProxyPage,
    RateLimit,
    Reset,
    Stall,
    Status,
    Truncate,
)
from pandium.emulator._manual_clock import ManualClock
from pandium.emulator._phases import Phase, Polls
from pandium.emulator._plans import Plan
from pandium.emulator._records import Integration, Release, Tenant
from pandium.emulator._request_log import Request, RequestLog
from pandium.emulator._runs import Runs
from pandium.emulator._upstreams import ConnectorRequest, UpstreamFailure

__all__ = [
    "Clock",
    "ConnectorRequest",
    "Connectors",
    "Drift",
    "Emulator",
    "Faults",
    "Garbage",
    "Integration",
    "Latency",
    "ManualClock",
    "Phase",
    "Plan",
    "Polls",
    "ProxyPage",
    "RateLimit",
    "Release",
    "Request",
    "RequestLog",
    "Reset",
    "Runs",
    "Stall",
    "Status",
    "Tenant",
    "Truncate",
    "UpstreamFailure",
]
