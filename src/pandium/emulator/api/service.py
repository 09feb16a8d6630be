"""The state of an emulated service, and the lock that protects it."""

import contextlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request
from starlette.types import Scope

from pandium.emulator.api.views import TenantEncoder
from pandium.emulator.connectors.connectors import Connectors
from pandium.emulator.connectors.fixed_responses import fixed_responses, set_fixed_response
from pandium.emulator.network.drift import Drift
from pandium.emulator.network.faults import Faults
from pandium.emulator.network.http_server import HOST
from pandium.emulator.network.notifications import Webhooks
from pandium.emulator.network.request_log import EFFECT_KEY, RequestLog
from pandium.emulator.runs.clock import Clock
from pandium.emulator.runs.runs import Runs
from pandium.emulator.state.adding import script_problems
from pandium.emulator.state.builds import Builds, BuildsState
from pandium.emulator.state.errors import Missing, raise_if_any
from pandium.emulator.state.files import write_file
from pandium.emulator.state.scripts import Script
from pandium.emulator.state.snapshots import EmulatorState, Snapshot, read_snapshot, to_data
from pandium.emulator.state.store import Store
from pandium.emulator.state.window import Window, parse_window

# The vendor's signed URLs are valid for 15 minutes.
LOG_SECONDS = 900.0
NUMBER = re.compile(r"[0-9]{1,18}")
SCOPE_KEY = "pandium.emulator"


@dataclass
class Service:
    """The state of one emulator."""

    clock: Clock
    api_key: str | None = None
    lock: RLock = field(default_factory=RLock)
    port: int = 0
    storage_port: int = 0
    seed: Any = None
    state_file: Path | None = None
    page_limit: int | None = None

    def __post_init__(self) -> None:
        self.runs: Runs = Runs(self.clock, self.lock)
        self.store: Store = Store(self.clock.wall, self.runs.schedule)
        self.builds: Builds = Builds(self.store, self.lock)
        self.connectors: Connectors = Connectors()
        self.requests: RequestLog = RequestLog()
        self.storage_requests: RequestLog = RequestLog()
        self.faults: Faults = Faults(self.clock)
        self.drift: Drift = Drift(self.store, self.clock, self.lock)
        self.tenants: TenantEncoder = TenantEncoder(self.store, self.runs)
        self.webhooks: Webhooks = Webhooks(self.store, self.runs, self.lock, self.origin)
        self.store.on_added = self.webhooks.record_added
        self.store.on_archived = self.webhooks.tenant_archived
        self.runs.on_end = self.webhooks.run_ended
        self.runs.validate_script = self._require_subject
        self._secret = secrets.token_bytes(16)

    def _require_subject(self, script: Script) -> None:
        raise_if_any(*script_problems(self.store, script))

    def load(self, data: Any) -> None:
        """
        Replace the entire state with that of a seed or a saved state.

        :raises ValueError: if the data is invalid. The message starts with the location of the
            problem, and the state is unchanged.
        """
        with self.lock:
            self._restore(read_snapshot(data, self.clock.wall))

    def _restore(self, snapshot: Snapshot) -> None:
        self.webhooks.reset()  # first, so that replacing the runs sends no notifications
        state = snapshot.state
        now = self.clock.wall()
        self.clock.epoch += max((state.saved_at or now) - now, timedelta())  # never backward
        self.runs.replace(state.runs, state.scripts)
        self.store.replace(snapshot.store)  # this also sets the schedules of the runs
        self.builds.replace(state.builds.scripts, state.builds.pending)
        self.connectors.clear()
        for upstream in state.upstreams:
            set_fixed_response(self.connectors, upstream)
        self.page_limit = None
        self.faults.clear()
        self.drift.clear()
        self.requests.clear()
        self.storage_requests.clear()

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Return a context manager that holds the lock and finishes builds that are due."""
        with self.lock:
            self.builds.settle()
            yield

    def dump(self) -> dict[str, Any]:
        """Return the entire state as JSON-compatible data."""
        with self.settled():
            state = EmulatorState(
                saved_at=self.clock.wall(),
                integrations=list(self.store.integrations.values()),
                releases=list(self.store.releases.values()),
                tenants=list(self.store.tenants.values()),
                runs=self.runs.all(),
                scripts=self.runs.scripts,
                upstreams=fixed_responses(self.connectors),
                builds=BuildsState(scripts=self.builds.scripts, pending=self.builds.pending),
            )
            return to_data(state)

    def save(self, path: Path | None = None) -> Path:
        """
        Write the entire state to a file, by default to the emulator's state file.

        :raises OSError: if the file cannot be written.
        :raises ValueError: if there is no path, or if the state is nested too deeply.
        """
        target = path or self.state_file
        if target is None:
            raise ValueError("path: must be specified, because the emulator has no state_file")
        try:
            write_file(target, self.dump())
        except RecursionError:
            raise ValueError("state: a value is nested too deeply to be saved") from None
        return target

    def window(
        self, skip: int | None, limit: int | None, sort_by: str | None, fields: Collection[str]
    ) -> Window:
        """Return the requested part of a listing, or raise InvalidInput."""
        return parse_window(skip, limit, sort_by, fields).clamp(self.page_limit)

    def origin(self) -> str:
        """Return the base URL of the API."""
        return f"http://{HOST}:{self.port}"

    def is_key(self, key: str) -> bool:
        """Return whether an API key is accepted."""
        return bool(key) if self.api_key is None else key == self.api_key

    def tenant_of(
        self, operation: str | None, parts: Mapping[str, str], scope: Scope
    ) -> int | None:
        """Return the id of the tenant that a request is for, if this is known in advance."""
        numbers = {name: int(part) for name, part in parts.items() if NUMBER.fullmatch(part)}
        if operation == "integrations.sync":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            return self._tenant_of_user(numbers.get("integration_id", 0), query.get("user_name"))
        if operation == "runs.status":
            return self.runs.tenant_of(parts["trigger_id"])
        if operation == "runs.log":
            run = self.runs.find(numbers.get("run_id", 0))
            return run.tenant_id if run else None
        return numbers.get("tenant_id")

    def _tenant_of_user(self, integration_id: int, names: Sequence[str] | None) -> int | None:
        with self.lock, contextlib.suppress(Missing):
            return self.store.tenant_of_user(integration_id, names[-1] if names else "").id
        return None

    def log_url(self, run_id: int) -> str:
        """Return a signed URL of a run's log, which is valid for 15 minutes."""
        expires = f"{self.clock.now() + LOG_SECONDS:.3f}"
        signature = self._sign(str(run_id), expires)
        origin = f"http://127.0.0.1:{self.storage_port}"
        return f"{origin}/logs/{run_id}?expires={expires}&signature={signature}"

    def has_signed(self, run_id: str, expires: str, signature: str) -> bool:
        """Return whether the signature of a URL is valid and has not expired."""
        is_ours = hmac.compare_digest(self._sign(run_id, expires).encode(), signature.encode())
        return is_ours and self.clock.now() < float(expires)

    def _sign(self, run_id: str, expires: str) -> str:
        return hmac.new(self._secret, f"{run_id} {expires}".encode(), "sha256").hexdigest()


def service_of(request: Request) -> Service:
    """Return the service that received a request."""
    service: Service = request.scope[SCOPE_KEY]
    return service


def record_effect(request: Request, tenant_id: int) -> None:
    """Record that a request had an effect on a tenant."""
    request.scope[EFFECT_KEY] = tenant_id
