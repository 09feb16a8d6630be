"""
A stateful emulator of the Pandium API on a loopback socket, for tests and demonstrations.

It shares no code with the client, so it is an independent interpretation of the API. The folders of
this package are private. Import public names from `pandium.emulator`.
"""

from pandium.emulator._emulator import Emulator
from pandium.emulator.connectors.connectors import Connectors
from pandium.emulator.connectors.upstreams import ConnectorRequest, UpstreamFailure
from pandium.emulator.network.deliveries import Delivery
from pandium.emulator.network.drift import Drift
from pandium.emulator.network.faults import (
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
from pandium.emulator.network.notifications import Webhooks
from pandium.emulator.network.request_log import Request, RequestLog
from pandium.emulator.network.request_selection import RequestRule
from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.manual_clock import ManualClock
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.builds import Build, Builds, BuildScript
from pandium.emulator.state.record_models import Connector, Integration, Release, Tenant
from pandium.emulator.state.scripts import Phase, Polls

__all__ = [
    "Build",
    "BuildScript",
    "Builds",
    "Clock",
    "Connector",
    "ConnectorRequest",
    "Connectors",
    "Delivery",
    "Drift",
    "Emulator",
    "Faults",
    "Garbage",
    "Integration",
    "Latency",
    "ManualClock",
    "Phase",
    "Polls",
    "ProxyPage",
    "RateLimit",
    "Release",
    "Request",
    "RequestLog",
    "RequestRule",
    "Reset",
    "Runs",
    "Stall",
    "Status",
    "Tenant",
    "Truncate",
    "UpstreamFailure",
    "Webhooks",
]
