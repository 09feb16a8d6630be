"""Each operation as a command: what it sends to the emulator, and what it writes."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pandium._cli.app import run
from pandium.emulator import ConnectorRequest, Emulator, UpstreamFailure
from support.cli import KEY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _api(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    emulator.add_tenant("acme", user_name="ann", metadata={"cursor": 5})
    emulator.connectors.register("shop", upstream)


def upstream(request: ConnectorRequest) -> Any:
    if request.method == "DELETE":
        return UpstreamFailure(418, {"is": "a teapot"})
    if request.kind == "rest":
        return {"url": request.url, "query": request.query_params, "body": request.body}
    return f"<{request.kind}>{request.data}</{request.kind}>"


URL = "https://shop.example.com/orders"
COMMANDS = [
    ("integrations list --sort-by id__ASC --not-archived", "GET /v2/integrations"),
    ("integrations get 1 -f json", "GET /v2/integrations/1"),
    ("integrations sync 1 --user-name ann", "POST /v2/integrations/1/sync"),
    ("releases list 1", "GET /v2/integrations/1/releases"),
    ("releases get 1 1", "GET /v2/integrations/1/releases/1"),
    ("releases default 1", "GET /v2/integrations/1/releases/default"),
    ("releases latest 1", "GET /v2/integrations/1/releases/latest"),
    ("tenants list --integration 1 --user-name ann", "GET /v2/tenants"),
    ("tenants create new 1 --release-channel Latest --configs {}", "POST /v2/tenants"),
    ("tenants update 1 --paused --set archived=true", "PATCH /v2/tenants/1"),
    ("tenants archive 1", "DELETE /v2/tenants/1"),
    ("tenants release 1", "GET /v2/tenants/1/release"),
    ("tenants sync 1 --mode init", "POST /v2/tenants/1/sync"),
    ("tenants metadata 1", "GET /v2/tenants/1/metadata"),
    ('tenants update-metadata 1 {"a":1}', "PATCH /v2/tenants/1/metadata"),
    ("tenants runs 1", "GET /v2/tenants/1/runs"),
    ("builds create 1 v2", "POST /v2/sourcecontrol/build"),
    (f"connectors call 1 shop {URL}", "POST /v2/tenants/1/connectors/shop/call"),
    (f"connectors soap 1 shop {URL} --data <a/>", "POST /v2/tenants/1/connectors/shop/soap"),
    (f"connectors xml 1 shop {URL} --data <a/>", "POST /v2/tenants/1/connectors/shop/xml"),
    ("connectors disconnect 1 shop", "PATCH /v2/tenants/1/connectors/shop/disconnect"),
    ("request get /v2/tenants --param limit=1", "GET /v2/tenants"),
]


@pytest.mark.parametrize(("line", "request_line"), COMMANDS)
def test_each_operation_has_a_command(
    line: str, request_line: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command sends the one request of its operation, and ends with 0 and no complaint."""
    assert run(line.split(" ")) == 0
    sent = [f"{one.method} {one.path}" for one in emulator.requests]
    written = capsys.readouterr()
    assert sent == [request_line]
    assert written.out or "nothing found" in written.err


def test_the_run_of_a_trigger_can_be_followed(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trigger's status, a run's log and the log's URL are commands of their own."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    assert run(["tenants", "sync", "1", "-f", "jsonl"]) == 0
    trigger = json.loads(capsys.readouterr().out)["trigger_id"]
    assert run(["runs", "status", trigger]) == 0
    assert capsys.readouterr().out == "status  Succeeded\n"
    assert run(["runs", "log", "1"]) == 0
    assert "run 1: Succeeded\n" in capsys.readouterr().out
    assert run(["runs", "log-url", "1"]) == 0
    assert capsys.readouterr().out.startswith("http://")


def body_of(emulator: Emulator) -> Any:
    return json.loads(emulator.requests[-1].body)


def test_payloads_are_json_or_files_of_it(emulator: Emulator, tmp_path: Path) -> None:
    """What an option takes as JSON may come from a file, too."""
    (tmp_path / "payload.json").write_text('{"since": "2026-01-01", "é": 1}', encoding="utf-8")
    sync = ["integrations", "sync", "1", "--user-name", "ann", "--payload"]
    assert run([*sync, f"@{tmp_path / 'payload.json'}"]) == 0
    assert body_of(emulator) == {"since": "2026-01-01", "é": 1}
    assert run([*sync, '{"all": true}']) == 0
    assert body_of(emulator) == {"all": True}


def test_payloads_may_come_from_standard_input(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`@-` reads standard input."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": 2}'))
    assert run(["tenants", "update-metadata", "1", "@-"]) == 0
    assert body_of(emulator) == {"a": 2}


def test_only_the_fields_that_are_given_change(emulator: Emulator) -> None:
    """An update sends what was named, and any other field as JSON."""
    line = "tenants update 1 --active --user-schedule=* --set other=[1,null]"
    run(line.split(" "))
    assert body_of(emulator) == {"paused": False, "user_schedule": "*", "other": [1, None]}


def test_calls_carry_queries_headers_and_bodies(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts of a connector call arrive, and the upstream's data is written as JSON."""
    line = f"connectors call 1 shop {URL} -X PUT --query a=1 --query a=2 --query b=x=y --header N=v"
    assert run([*line.split(" "), "--body", '{"total": 3}']) == 0
    assert body_of(emulator) == {
        "method": "PUT",
        "target_url": URL,
        "headers": {"N": "v"},
        "query_params": {"a": ["1", "2"], "b": "x=y"},
        "body": {"total": 3},
    }
    assert json.loads(capsys.readouterr().out)["body"] == {"total": 3}


def test_text_that_an_upstream_answers_is_written_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The answer to an XML or SOAP call is the document itself, not a JSON string of it."""
    assert run(["connectors", "xml", "1", "shop", URL, "--data", "<a/>"]) == 0
    assert capsys.readouterr().out == "<xml><a/></xml>\n"


def test_an_upstreams_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What the upstream answers with an error ends with 4 and one line that names it."""
    assert run(["connectors", "call", "1", "shop", URL, "-X", "DELETE"]) == 4
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert "418" in written.err


def test_requests_carry_parameters_headers_and_json(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`request` sends what it is given, with the same key, and writes the JSON that comes."""
    line = "request post /v2/tenants/1/sync --param mode=init --header X-Note=1"
    assert run([*line.split(" "), "--json", '{"a": 1}']) == 0
    sent = emulator.requests[-1]
    assert (sent.query, sent.headers["x-note"], sent.body) == ("mode=init", "1", b'{"a":1}')
    assert json.loads(capsys.readouterr().out) == {"trigger_id": "1"}


WRONG = [
    ("tenants sync", "name some tenants, or an --integration"),
    ("tenants sync 1 --integration 1", "name some tenants, or an --integration"),
    ("tenants sync 1 --journal a.db", "--journal needs --wait"),
    ("tenants sync 1 --wait --retry-unknown", "--retry-unknown needs --journal"),
    ("tenants sync 1 --payload [1]", "this is no JSON object"),
    ("tenants sync 1 --payload {", "this is not JSON"),
    ('tenants sync 1 --payload {"a":NaN}', "NaN is no number"),
    ("tenants sync 1 --payload @nowhere.json", "nowhere.json cannot be read: No such file"),
    (f"tenants sync 1 --payload @{sys.executable}", "is no text"),
    ("tenants sync x", "'x' is not a valid number"),
    ("tenants list --all --limit 3", "--all and --limit exclude each other"),
    ("tenants list --sort-by name", "sort_by must be '<field>__ASC'"),
    ("tenants list --page-size 501", "501 is not in the range 1<=x<=500"),
    ("tenants list --format xml", "'xml' is not one of"),
    ("tenants create A 1", "name must be lower-case letters"),
    ("tenants create a 1 --release-id 1 --release-channel Latest", "exclude each other"),
    ("tenants update 1", "name at least one field"),
    ("tenants update 1 --set archived", "'archived' is not NAME=VALUE"),
    ("connectors call 1 shop u --query =1", "'=1' is not NAME=VALUE"),
    ("runs wait", "Missing argument 'TRIGGER...'"),
    ("request fetch /v2/tenants", "method must be one of"),
    ("request get v2", "path must begin with one slash"),
    ("tenant list", "No such command 'tenant'"),
    ("runs wait 1 --max-interval 0.5", "minimum must be at most maximum"),
    ("watch --every 0", "0.0 is not in the range"),
    ("watch --every inf", "inf is not in the range"),
    ("tenants update 1 --name a --set name=2", "name is given twice"),
    ("tenants update 1 --set a=1 --set a=2", "a is given twice"),
    ("tenants update 1 --set tenant_id=5", "tenant_id is no field"),
    ("tenants update 1 --release-id 5 --set integration_release_id=6", "are one field"),
]


@pytest.mark.parametrize(("line", "complaint"), WRONG)
def test_a_wrong_command_line_is_one_line_and_2(
    line: str, complaint: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command line has wrong is named in one line, and nothing is sent."""
    assert run(line.split(" ")) == 2
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert written.err.startswith("pandium-api: error: ")
    assert complaint in written.err
    assert list(emulator.requests) == []
