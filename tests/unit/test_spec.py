"""Request specs: the failures after which each request can be retried."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandium import errors
from pandium._client import _safety_of
from pandium._transport.spec import RetrySafety
from pandium.errors import PandiumError
from support.failures import error_response

TENANT = "/v2/tenants/7"

FAILURES: dict[str, Callable[[], BaseException]] = {
    "no connection": lambda: errors.ConnectFailed("x"),
    "timeout": lambda: errors.RequestTimeout("x"),
    "connection lost": lambda: errors.ConnectionLost("x"),
    "no response": lambda: errors.TransportError("x"),
    **{
        str(status): lambda status=status: error_response(status)  # type: ignore[misc]
        for status in (302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 501, 502, 503, 504, 505)
    },
    "upstream's 429": lambda: error_response(429, cls=errors.ConnectorError),
    "upstream's 503": lambda: error_response(503, cls=errors.ConnectorError),
    "undecodable": lambda: errors.DecodeError("x"),
    "other": lambda: PandiumError("x"),
    "a bug": lambda: ValueError("x"),
    "interrupted": KeyboardInterrupt,
}
RETRYABLE = {
    RetrySafety.IDEMPOTENT: {
        *("no connection", "timeout", "connection lost", "no response"),
        *("408", "429", "500", "502", "503", "504"),
    },
    RetrySafety.NOT_SENT: {"no connection", "429"},
    RetrySafety.PROXIED: {"no connection", "429"},
}
REQUESTS = [
    ("GET", "/v2/tenants", RetrySafety.IDEMPOTENT),
    ("GET", f"{TENANT}/metadata", RetrySafety.IDEMPOTENT),
    ("GET", "/v2/runs/triggers/7/status", RetrySafety.IDEMPOTENT),
    ("HEAD", "/v2/tenants", RetrySafety.IDEMPOTENT),
    ("OPTIONS", "/v2/tenants", RetrySafety.IDEMPOTENT),
    ("DELETE", TENANT, RetrySafety.IDEMPOTENT),
    ("PATCH", f"{TENANT}/metadata", RetrySafety.IDEMPOTENT),
    ("PATCH", "/v2/tenants/a%2Fb/metadata", RetrySafety.IDEMPOTENT),
    ("POST", f"{TENANT}/sync", RetrySafety.NOT_SENT),
    ("POST", "/v2/integrations/7/sync", RetrySafety.NOT_SENT),
    ("POST", "/v2/sourcecontrol/build", RetrySafety.NOT_SENT),
    ("POST", "/v2/tenants", RetrySafety.NOT_SENT),
    ("POST", f"{TENANT}/metadata", RetrySafety.NOT_SENT),
    ("PUT", f"{TENANT}/metadata", RetrySafety.NOT_SENT),
    ("PATCH", TENANT, RetrySafety.NOT_SENT),
    ("PATCH", f"{TENANT}/connectors/crm/disconnect", RetrySafety.NOT_SENT),
    ("PATCH", f"{TENANT}/connectors/crm/metadata", RetrySafety.NOT_SENT),
    ("PATCH", f"{TENANT}/metadata/more", RetrySafety.NOT_SENT),
    ("PATCH", "/v2/integrations/7/metadata", RetrySafety.NOT_SENT),
    ("PATCH", f"/x{TENANT}/metadata", RetrySafety.NOT_SENT),
    ("PATCH", f"{TENANT}/connectors/crm/call", RetrySafety.NOT_SENT),
    ("POST", f"{TENANT}/connectors/crm/call", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/soap", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/xml", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/a%2Fb/call", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/c%61ll", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/call/", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors//crm%2Fcall", RetrySafety.PROXIED),
    ("POST", f"/prefix{TENANT.upper()}/Connectors/crm/CALL", RetrySafety.PROXIED),
    ("POST", f"{TENANT}/connectors/crm/caller", RetrySafety.NOT_SENT),
    ("POST", f"{TENANT}/connectors/call", RetrySafety.NOT_SENT),
]


@pytest.mark.parametrize(("method", "path", "safety"), REQUESTS)
def test_method_and_path_decide_the_retry_safety_of_a_raw_request(
    method: str, path: str, safety: RetrySafety
) -> None:
    """A raw request to a known path is retried like its operation, otherwise by its method."""
    assert _safety_of(method, path) is safety


@given(method=st.sampled_from(["POST", "PUT", "PATCH"]), path=st.text("/v2tenasmdcorl7%.?"))
def test_writes_to_unknown_endpoints_are_not_idempotent(method: str, path: str) -> None:
    """A write to an unknown endpoint is never treated as idempotent."""
    safety = _safety_of(method, path)
    assert safety is not RetrySafety.IDEMPOTENT or path.endswith("/metadata")


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("safety", RetrySafety)
def test_each_safety_allows_exactly_its_failures(safety: RetrySafety, failure: str) -> None:
    """Each retry safety allows a retry after the listed failures only."""
    assert safety.allows(FAILURES[failure]()) is (failure in RETRYABLE[safety])
