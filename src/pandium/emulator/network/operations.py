"""The operations of the API and their names, which faults, drift and assertions use."""

import re
from collections.abc import Mapping

DOCUMENT = "/v2/openapi.json"
OPERATIONS: Mapping[str, tuple[str, str]] = {
    "builds.create": ("POST", "/v2/sourcecontrol/build"),
    "integrations.list": ("GET", "/v2/integrations"),
    "integrations.get": ("GET", "/v2/integrations/{integration_id}"),
    "integrations.sync": ("POST", "/v2/integrations/{integration_id}/sync"),
    "releases.list": ("GET", "/v2/integrations/{integration_id}/releases"),
    "releases.default": ("GET", "/v2/integrations/{integration_id}/releases/default"),
    "releases.latest": ("GET", "/v2/integrations/{integration_id}/releases/latest"),
    "releases.get": ("GET", "/v2/integrations/{integration_id}/releases/{release_id}"),
    "tenants.list": ("GET", "/v2/tenants"),
    "tenants.create": ("POST", "/v2/tenants"),
    "tenants.update": ("PATCH", "/v2/tenants/{tenant_id}"),
    "tenants.archive": ("DELETE", "/v2/tenants/{tenant_id}"),
    "tenants.release": ("GET", "/v2/tenants/{tenant_id}/release"),
    "tenants.metadata": ("GET", "/v2/tenants/{tenant_id}/metadata"),
    "tenants.update_metadata": ("PATCH", "/v2/tenants/{tenant_id}/metadata"),
    "tenants.sync": ("POST", "/v2/tenants/{tenant_id}/sync"),
    "tenants.runs": ("GET", "/v2/tenants/{tenant_id}/runs"),
    "connectors.call": ("POST", "/v2/tenants/{tenant_id}/connectors/{connector_name}/call"),
    "connectors.soap": ("POST", "/v2/tenants/{tenant_id}/connectors/{connector_name}/soap"),
    "connectors.xml": ("POST", "/v2/tenants/{tenant_id}/connectors/{connector_name}/xml"),
    "connectors.disconnect": (
        "PATCH",
        "/v2/tenants/{tenant_id}/connectors/{connector_name}/disconnect",
    ),
    "runs.status": ("GET", "/v2/runs/triggers/{trigger_id}/status"),
    "runs.log": ("GET", "/v2/runs/{run_id}/log"),
}
SYNCS = frozenset({"tenants.sync", "integrations.sync"})

_NAMES: dict[tuple[str, str], str] = {place: name for name, place in OPERATIONS.items()}


def _patterns() -> dict[tuple[str, int], list[tuple[str, re.Pattern[str]]]]:
    """Return the patterns of paths, indexed by method and number of path segments."""
    found: dict[tuple[str, int], list[tuple[str, re.Pattern[str]]]] = {}
    for name, (method, template) in OPERATIONS.items():
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))
        found.setdefault((method, template.count("/")), []).append((name, pattern))
    return found


_PATTERNS = _patterns()


def find(method: str, path: str) -> tuple[str | None, dict[str, str]]:
    """Return the operation of a request, or None, and the parameters in its path."""
    for name, pattern in _PATTERNS.get((method, path.count("/")), ()):
        if match := pattern.fullmatch(path):
            return name, match.groupdict()
    return None, {}


def methods_of(path: str) -> list[str]:
    """Return the methods that a path supports."""
    methods = sorted({method for method, _ in OPERATIONS.values()})
    return [method for method in methods if find(method, path)[0]]


def parse_operation(given: object) -> str | None:
    """
    Return the name of an operation. None means all operations.

    :param given: a name, such as "tenants.list", or a method and path template, such as
        "GET /v2/tenants".
    :raises ValueError: if there is no such operation. The message lists all operations.
    """
    if given is None or (isinstance(given, str) and given in OPERATIONS):
        return given
    if isinstance(given, str):
        method, _, template = given.partition(" ")
        if name := _NAMES.get((method.upper(), template)):
            return name
    known = ", ".join(OPERATIONS)
    raise ValueError(f"operation: there is no {given!r}; use one of {known}, or a method and path")


def has_tenant(operation: str | None) -> bool:
    """Return whether each request of an operation belongs to one tenant."""
    if operation is None or operation in {"integrations.sync", "runs.status", "runs.log"}:
        return True
    return "{tenant_id}" in OPERATIONS[operation][1]
