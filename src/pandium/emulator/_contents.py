"""All that an emulator holds at one moment: what a seed makes of it, or a saved state."""

from collections.abc import Sequence
from dataclasses import dataclass

from pandium.emulator._arguments import ScriptArguments, UpstreamArguments
from pandium.emulator._canned import can
from pandium.emulator._queues import EmulatedRun
from pandium.emulator._script_data import set_script
from pandium.emulator._service import Service
from pandium.emulator._store import Store


@dataclass(frozen=True, slots=True)
class Contents:
    """Records, runs, and how runs and upstream systems go on."""

    store: Store
    runs: Sequence[EmulatedRun]
    scripts: Sequence[ScriptArguments]
    upstreams: Sequence[UpstreamArguments]


def put(service: Service, contents: Contents) -> None:
    """Let a service hold this and nothing else, as if it had been made with it."""
    with service.lock:
        service.runs.replace(contents.runs)
        for script in contents.scripts:
            set_script(service.runs, script)
        service.store.replace(contents.store)  # which tells the runs of the schedules
        service.connectors.clear()
        for upstream in contents.upstreams:
            can(service.connectors, upstream)
        service.faults.clear()
        service.drift.clear()
        service.requests.clear()
        service.storage_requests.clear()
