"""Third-party programs that use the emulator: fuzzers, generated clients and curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium
from pandium.emulator import Emulator, Latency
from support.emulator_process import EmulatorProcess, emulator_process
from support.node import requires_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Program = Callable[[str, str, str], subprocess.CompletedProcess[str]]

DATA = Path(__file__).parent.parent / "data"
VENDORS = DATA / "openapi.json"
IS_LONG = bool(os.environ.get("PANDIUM_LONG"))
EXAMPLES, PATIENCE = (150, 1800) if IS_LONG else (3, 180)
KEY = "a-key-of-the-tests"
INTEGRATION = 41
RELEASE = 900_000_001
CONNECTED = {71: "ada", 72: "grace"}
SEED = {
    "integrations": [{"id": INTEGRATION, "connectors": ["crm"]}],
    "releases": [{"id": RELEASE, "integration_id": INTEGRATION}],
    "tenants": [
        {"id": number, "integration_id": INTEGRATION, "user_name": name}
        for number, name in CONNECTED.items()
    ],
}

Document = dict[str, Any]


@pytest.fixture(scope="module")
def started_server() -> Iterator[EmulatorProcess]:
    with emulator_process("--api-key", KEY) as process:
        yield process


@pytest.fixture
def server(started_server: EmulatorProcess) -> EmulatorProcess:
    """Reset the server of this module to the seed, without faults, requests and scripts."""
    started_server.control("PUT", "/state", json=SEED)
    return started_server


def succeed_immediately(server: EmulatorProcess) -> None:
    script = {"appears_after": 0, "phases": [["Succeeded", 0]]}
    server.control("PUT", "/scripts", json=script)


def requests_of(server: EmulatorProcess, **conditions: Any) -> list[dict[str, Any]]:
    """Return the latest requests that a server received."""
    requests: list[dict[str, Any]] = server.control(
        "GET", "/requests", params={"limit": 10_000, **conditions}
    )["requests"]
    return requests


def assert_triggered_once(server: EmulatorProcess, tenant: int) -> None:
    effects = server.control("GET", "/effects", params={"operation": "tenants.sync"})
    assert effects == [{"operation": "tenants.sync", "tenant": tenant, "count": 1}]


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a child process until it exits, without a proxy for the local machine."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def nullable(schema: Document) -> Document:
    return {"anyOf": [schema, {"type": "null"}]}


# Additions for what the vendor documents only in prose or omits, and a fuzzer has to know.


def with_refusals(document: Document) -> None:
    """Document the 403. The vendor checks keys, but does not document this response."""
    schema = {"type": "object", "properties": {"detail": {"type": "string"}}}
    refusal = {"description": "Forbidden", "content": {"application/json": {"schema": schema}}}
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"]["403"] = refusal


def with_bounds(document: Document) -> None:
    """Limit `limit`, `skip` and `sort_by` to the values in their descriptions."""
    bounds: Document = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 500},
        "skip": {"type": "integer", "minimum": 0},
        "sort_by": {"type": "string", "pattern": "^((id|name|created_date)__(ASC|DESC))?$"},
    }
    for methods in document["paths"].values():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if parameter["name"] in bounds:
                parameter["schema"] = nullable(bounds[parameter["name"]])


def with_rules_for_tenants(document: Document) -> None:
    """Add the descriptions' rules for names and schedules, and for a release and a channel."""
    schema = document["components"]["schemas"]["CreateTenant"]
    schema["properties"] |= {
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"},
        "user_schedule": nullable({"enum": ["*/5 * * * *"]}),
        "integration_release_channel": nullable({"enum": ["Latest", "Default"]}),
    }
    both = ["integration_release_id", "integration_release_channel"]
    schema["not"] = {
        "properties": {both[0]: {"type": "integer"}, both[1]: {"type": "string"}},
        "required": both,
    }


def with_what_exists(document: Document) -> None:
    """List the existing records where the document has no 404 for missing ones."""
    schemas = document["components"]["schemas"]
    schemas["CreateBuild"]["properties"]["integration_id"] = {"enum": [INTEGRATION]}
    schemas["CreateTenant"]["properties"] |= {
        "integration_id": {"enum": [INTEGRATION]},
        "integration_release_id": nullable({"enum": [RELEASE]}),
    }
    sync = document["paths"]["/v2/integrations/{integration_id}/sync"]["post"]
    for parameter in sync["parameters"]:
        if parameter["name"] == "user_name":  # so that some syncs are executed
            parameter["schema"] = {"enum": list(CONNECTED.values())}


def with_connections(document: Document) -> None:
    """
    Restrict connector calls to connected tenants, a method and a URL.

    The response to anything else is the documented 400, which a fuzzer cannot predict. The
    parameter is renamed, because no other operation is restricted to connected tenants.
    """
    values = {"tenant_id": list(CONNECTED), "connector_name": ["crm"]}
    paths = document["paths"]
    for path in [one for one in paths if "{connector_name}" in one]:
        operation = paths.pop(path)
        for parameter in operation["post"]["parameters"]:
            parameter["schema"] = {"enum": values[parameter["name"]]}
            parameter["name"] = parameter["name"].replace("tenant_id", "connected_tenant")
        paths[path.replace("{tenant_id}", "{connected_tenant}")] = operation
    for name in ("ProxyRestRequestBody", "ProxyXmlRequestBody"):
        schema = document["components"]["schemas"][name]
        schema["required"] = ["method", "target_url"]
        for key in schema["required"]:
            schema["properties"][key] = {"type": "string", "minLength": 1}


def with_what_has_no_shape(document: Document) -> None:
    """Add the update of a tenant, which the reference lists without a schema."""
    methods = document["paths"]["/v2/tenants/{tenant_id}"]
    content = {"application/json": {"schema": {"type": "object"}}}
    methods["patch"] = {
        "parameters": methods["delete"]["parameters"],
        "requestBody": {"required": True, "content": content},
        "responses": {"default": {"description": "", "content": {"application/json": {}}}},
    }


def vendors_document() -> Document:
    document: Document = json.loads(VENDORS.read_text())
    return document


def test_it_keeps_all_that_the_vendor_s_document_says(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    """Schemathesis finds no failures with all of its checks, for valid and invalid requests."""
    document = vendors_document()
    for adapt in (
        with_refusals,
        with_bounds,
        with_rules_for_tenants,
        with_what_exists,
        with_connections,
        with_what_has_no_shape,
    ):
        adapt(document)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "config.toml").write_text(f'[auth.openapi.apiKey]\napi_key = "{KEY}"\n')
    server.control("PUT", "/upstreams", json={"connector": "crm", "data": {"ok": True}})
    server.control("PUT", "/scripts", json={"appears_after": 0})
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "config.toml", "run"]
    options = ["--url", server.url, "--checks", "all", "--continue-on-failure"]
    amount = ["--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"]
    done = run(*command, "openapi.json", *options, *amount, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    answered = {one["operation"] for one in requests_of(server) if 200 <= one["status"] < 300}
    assert answered >= {
        "builds.create", "connectors.call", "connectors.soap", "connectors.xml",
        "integrations.get", "integrations.list", "integrations.sync", "releases.default",
        "releases.get", "releases.list", "runs.status", "tenants.archive", "tenants.create",
        "tenants.list", "tenants.metadata", "tenants.sync", "tenants.update_metadata",
    }  # fmt: skip


CONFORMANCE = (
    "not_a_server_error,status_code_conformance"
    ",response_schema_conformance,content_type_conformance"
)


def test_the_control_api_keeps_its_own_document(tmp_path: Path) -> None:
    """Schemathesis finds no server error and no response that the document does not describe."""
    # Not the server of the other tests, as the requests change its clock.
    with emulator_process("--state", str(tmp_path / "state.json")) as server:
        server.control("PUT", "/state", json=SEED)
        url = f"{server.url}/_emulator/openapi.json"
        options = ["--checks", CONFORMANCE, "--phases", "coverage,fuzzing"]
        # A webhook could be sent to any generated URL.
        options += ["--exclude-path-regex", "webhooks", "--continue-on-failure", "--no-color"]
        amount = ["--max-examples", str(EXAMPLES), "--seed", "1"]
        command = [sys.executable, "-m", "schemathesis.cli", "run", url]
        done = run(*command, "--url", server.url, *options, *amount, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


GENERATED = """
import asyncio, sys
from vendors.client import AuthenticatedClient
from vendors.api.default import (
    create_one_v2_tenants_post as create,
    get_many_tenants_v2_tenants_get as list_tenants,
    get_one_integration_v2_integrations_integration_id_get as get,
)
from vendors.api.runs import (
    get_run_status_from_trigger_v2_runs_triggers_trigger_id_status_get as status,
)
from vendors.api.tenants import sync_by_tenant_id_v2_tenants_tenant_id_sync_post as sync
from vendors.models import (
    CreateTenant,
    ErrorMessage,
    HTTPValidationError,
    SyncByTenantIdV2TenantsTenantIdSyncPostBodyType0 as Payload,
    V2RunMode,
)

url, key = sys.argv[1:]
client = AuthenticatedClient(url, key, prefix="", auth_header_name="x-api-key",
                             raise_on_unexpected_status=True)

assert [one.name for one in list_tenants.sync(client=client, limit=1)] == ["tenant-71"]
integration = get.sync(41, client=client)
assert [one.name for one in integration.connectors] == ["crm"]
assert isinstance(get.sync(9, client=client), ErrorMessage)
tenant = create.sync(client=client, body=CreateTenant("new-one", 41))
assert (tenant.name, tenant.paused, tenant.status.auth.connected) == ("new-one", True, False)
assert isinstance(create.sync(client=client, body=CreateTenant("No", 41)), HTTPValidationError)

async def main():
    payload = Payload.from_dict({"since": "2026-01-01"})
    options = {"client": client, "mode": V2RunMode.NORMAL, "body": payload}
    trigger = await sync.asyncio(tenant.id, **options)
    found = await status.asyncio(trigger.trigger_id, client=client)
    assert found.status == "Succeeded", found

asyncio.run(main())
print(tenant.id)
"""


def without_objects_as_defaults(node: Any) -> None:
    """Remove each `"default": {}`, because of which the generator would omit the schema."""
    if isinstance(node, dict):
        if node.get("default") == {}:
            del node["default"]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            without_objects_as_defaults(one)


def test_a_client_that_is_generated_from_the_vendor_s_document_works(
    server: EmulatorProcess, tmp_path: Path
) -> None:
    """It lists, gets, creates and syncs, and reads a status, both sync and async."""
    document = vendors_document()
    without_objects_as_defaults(document)
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"]
    files = ["--path", "openapi.json", "--output-path", "vendors", "--config", "config.yaml"]
    made = run(*command, *files, "--fail-on-warning", cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    succeed_immediately(server)
    done = run(sys.executable, "-c", GENERATED, server.url, KEY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_triggered_once(server, int(done.stdout))
    [sync] = requests_of(server, operation="tenants.sync")
    assert sync["body"] == '{"since":"2026-01-01"}'


@requires_node
def test_a_program_in_javascript_builds_and_syncs(server: EmulatorProcess) -> None:
    """It lists, reads releases, builds by tag, finds the release, syncs a tenant and polls."""
    server.control("PUT", "/scripts", json={"appears_after": {"polls": 2}})
    done = run("node", DATA / "build_and_sync.mjs", server.url, KEY, str(INTEGRATION))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == {"integrations": 1, "before": 1, "tenant": 71, "status": "Succeeded"}
    [build] = requests_of(server, operation="builds.create")
    assert json.loads(build["body"]) == {"tag": "v7", "integration_id": INTEGRATION}
    statuses = [one["status"] for one in requests_of(server, operation="runs.status")]
    assert statuses[:3] == [404, 404, 200]


HTTP_CLIENT = """
import http.client, json, sys, urllib.parse
method, url, key, body = sys.argv[1:]
parts = urllib.parse.urlsplit(url)
connection = http.client.HTTPConnection(parts.netloc, timeout=30)
headers = {"X-API-KEY": key, "Content-Type": "application/json"}
connection.request(method, f"{parts.path}?{parts.query}", body or None, headers)
answer = connection.getresponse()
print(answer.read().decode())
print(answer.status)
"""


def http_client(method: str, url: str, body: str) -> subprocess.CompletedProcess[str]:
    """Send a request with Python's own client in a child process. Every machine has it."""
    return run(sys.executable, "-I", "-c", HTTP_CLIENT, method, url, KEY, body)


def curl(method: str, url: str, body: str) -> subprocess.CompletedProcess[str]:
    head = ["-H", f"X-API-KEY: {KEY}", "-H", "Content-Type: application/json"]
    data = ["--data-binary", body] if body else []
    return run("curl", "-sS", "-m", "30", "-X", method, *head, *data, "-w", "\n%{http_code}", url)


# Not every machine has curl. Without it, the tests run only with the other program.
PROGRAMS = [http_client, *[curl] * (shutil.which("curl") is not None)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_in_another_process_works(program: Program, server: EmulatorProcess) -> None:
    """It lists, creates, syncs and reads a status over the socket, and receives errors."""
    succeed_immediately(server)

    def ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        done = program(method, f"{server.url}/v2{path}", json.dumps(body) if body else "")
        assert done.returncode == 0, done.stderr
        text, _, status = done.stdout.strip().rpartition("\n")
        return int(status), json.loads(text)

    status, tenants = ask("GET", "/tenants?limit=1")
    assert (status, [one["id"] for one in tenants]) == (200, [71])
    status, made = ask("POST", "/tenants", {"name": "new-one", "integration_id": INTEGRATION})
    assert (status, made["name"]) == (200, "new-one")
    status, trigger = ask("POST", f"/tenants/{made['id']}/sync?mode=init", {"since": "x"})
    assert status == 202
    status, run_status = ask("GET", f"/runs/triggers/{trigger['trigger_id']}/status")
    assert (status, run_status) == (200, {"status": "Succeeded"})
    assert ask("GET", "/runs/triggers/9/status")[0] == 404
    assert_triggered_once(server, made["id"])
    [sync] = requests_of(server, operation="tenants.sync")
    assert json.loads(sync["body"]) == {"since": "x"}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("fault", ["reset", "truncate"])
def test_a_program_in_another_process_meets_faults(
    program: Program, fault: str, server: EmulatorProcess
) -> None:
    """Every client detects a broken connection, and the next request succeeds."""
    rule = {"operation": "tenants.list", "times": 1, "fault": {"type": fault}}
    server.control("POST", "/faults", json=rule)
    assert program("GET", f"{server.url}/v2/tenants", "").returncode != 0
    assert program("GET", f"{server.url}/v2/tenants", "").returncode == 0


TENANTS = 10_000
AT_ONCE = 200
PAGE = TENANTS // AT_ONCE


@pytest.mark.anyio
async def test_many_tenants_and_many_requests_at_once_lose_nothing() -> None:
    """With 10,000 tenants, 200 concurrent requests all succeed, and order and state are kept."""
    tenants = [{"id": 1 + number} for number in range(TENANTS)]
    pages: dict[int, list[int]] = {}
    triggers: dict[int, str] = {}
    async with (
        Emulator({"integrations": [{}], "tenants": tenants}) as emulator,
        AsyncPandium("k", base_url=emulator.url, max_connections=AT_ONCE) as client,
    ):
        # Long enough for all requests to arrive before the first response is sent.
        emulator.faults.add(None, Latency(0.2), times=AT_ONCE)

        async def list_page(number: int) -> None:
            listing = client.tenants.list(skip=number * PAGE, limit=PAGE, page_size=PAGE)
            pages[number] = [one.id async for one in listing]

        async def sync(number: int) -> None:
            tenant = 1 + number * PAGE
            trigger = await client.tenants.sync(tenant, mode="normal", payload={"n": number})
            triggers[tenant] = trigger.trigger_id

        async def write(number: int) -> None:
            await client.tenants.update_metadata(1 + number * PAGE, {"n": number})

        async def archive(number: int) -> None:
            await client.tenants.archive(2 + number * PAGE)

        for batch in ((list_page,), (list_page, sync, write, archive)):
            async with anyio.create_task_group() as tasks:
                for number in range(AT_ONCE):
                    tasks.start_soon(batch[number % len(batch)], number)
            if len(batch) == 1:
                ids = [one for number in range(AT_ONCE) for one in pages[number]]
                assert ids == list(range(1, TENANTS + 1))
        emulator.assert_no_errors()
        await check_state(emulator, triggers, [one.id async for one in client.tenants.list()])


async def check_state(emulator: Emulator, triggers: dict[int, str], left: list[int]) -> None:
    """Every sync, write and archival was executed exactly once, and nothing else changed."""
    numbers = range(AT_ONCE)
    assert len(triggers) == len(set(triggers.values())) == AT_ONCE // 4
    for tenant in triggers:
        emulator.assert_triggered_once(tenant)
    written = {one.id: one.metadata for one in emulator.tenants if one.metadata}
    assert written == {1 + number * PAGE: {"n": number} for number in numbers if number % 4 == 2}
    gone = {2 + number * PAGE for number in numbers if number % 4 == 3}
    assert left == [one for one in range(1, TENANTS + 1) if one not in gone]
    assert sum(emulator.effects.values()) == 3 * AT_ONCE // 4
