"""One emulated service: its state, and the lock around it."""

import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from fastapi import Request

from pandium.emulator._clock import Clock
from pandium.emulator._connectors import Connectors
from pandium.emulator._journal import Journal
from pandium.emulator._runs import Runs
from pandium.emulator._store import Store
from pandium.emulator._views import TenantEncoder

# The vendor's signed addresses are good for a quarter of an hour.
LOG_SECONDS = 900.0
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

    def __post_init__(self) -> None:
        self.runs = Runs(self.clock, self.lock)
        self.store = Store(self.clock, self.runs.schedule)
        self.connectors = Connectors()
        self.requests = Journal()
        self.storage_requests = Journal()
        self.tenants = TenantEncoder(self.store, self.runs)
        self._secret = secrets.token_bytes(16)

    def is_key(self, key: str) -> bool:
        """Say whether a request with this key is let in."""
        return bool(key) if self.api_key is None else key == self.api_key

    def log_url(self, run_id: int) -> str:
        """Return an address of a run's log that is good for some minutes."""
        expires = f"{self.clock.now() + LOG_SECONDS:.3f}"
        signature = self._sign(str(run_id), expires)
        origin = f"http://127.0.0.1:{self.storage_port}"
        return f"{origin}/logs/{run_id}?expires={expires}&signature={signature}"

    def has_signed(self, run_id: str, expires: str, signature: str) -> bool:
        """Say whether an address comes from us and is still good."""
        is_ours = hmac.compare_digest(self._sign(run_id, expires).encode(), signature.encode())
        return is_ours and self.clock.now() < float(expires)

    def _sign(self, run_id: str, expires: str) -> str:
        return hmac.new(self._secret, f"{run_id} {expires}".encode(), "sha256").hexdigest()


def service_of(request: Request) -> Service:
    """Return the service that a request has reached."""
    service: Service = request.scope[SCOPE_KEY]
    return service
