"""The commands: the requests that they send, their output and their help."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from pandium._cli.app import app, run
from pandium._cli.options import Command
from pandium.emulator import ConnectorRequest, Emulator, UpstreamFailure
from support.cli import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _tenant(api_environment: None, emulator: Emulator) -> None:
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
    ("tenants find 1 --integration 1", "GET /v2/tenants"),
    ("tenants find --name acme", "GET /v2/tenants"),
    ("tenants create 1 new --release-channel Latest --configs {}", "POST /v2/tenants"),
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
    """A command sends exactly the request of its operation and ends with exit code 0."""
    assert run(line.split(" ")) == 0
    sent = [f"{request.method} {request.path}" for request in emulator.requests]
    written = capsys.readouterr()
    assert sent == [request_line]
    assert written.out or "nothing found" in written.err


def test_a_run_can_be_followed_from_its_trigger(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are commands for a trigger's status, a run's log, and the URL of the log."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    assert run(["tenants", "sync", "1", "-f", "jsonl"]) == 0
    trigger = json.loads(capsys.readouterr().out)["trigger_id"]
    assert run(["runs", "status", trigger]) == 0
    assert capsys.readouterr().out == "status  Succeeded\n"
    assert run(["runs", "log", "1"]) == 0
    assert "run 1: Succeeded\n" in capsys.readouterr().out
    assert run(["runs", "log-url", "1"]) == 0
    assert capsys.readouterr().out.startswith("http://")


def test_a_run_is_found_by_its_trigger(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`runs find` shows the run that a trigger started, or ends with exit code 4."""
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    run(["tenants", "sync", "1"])
    capsys.readouterr()
    assert run(["runs", "find", "1", "--tenant", "1", "-f", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["triggers"][0]["id"] == 1
    assert run(["runs", "find", "2", "--tenant", "1"]) == 4
    assert capsys.readouterr().err == "pandium-api: error: no such run was found\n"


def test_finding_a_tenant_requires_an_id_or_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    """`tenants find` without an id and a name is a usage error. No match is exit code 4."""
    assert run(["tenants", "find"]) == 2
    assert "specify a tenant id or --name" in capsys.readouterr().err
    assert run(["tenants", "find", "--name", "other"]) == 4
    assert capsys.readouterr().err == "pandium-api: error: no such tenant was found\n"


def test_a_listing_is_limited_unless_all_is_given(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--all`, at most 100 records are listed, and a message explains how to continue."""
    for number in range(102):
        emulator.add_tenant(f"t-{number}")
    assert run(["tenants", "list", "-f", "jsonl"]) == 0
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == 100
    assert "--skip 100" in written.err
    assert run(["tenants", "list", "-f", "jsonl", "--skip", "100"]) == 0
    written = capsys.readouterr()
    assert (len(written.out.splitlines()), written.err) == (3, "")
    assert run(["tenants", "list", "-f", "jsonl", "--limit", "103"]) == 0
    assert capsys.readouterr().err == ""


def test_paging_options_reach_the_listing(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page size, skip, prefetch and drift options are passed to the listing."""
    for number in range(4):
        emulator.add_tenant(f"t-{number}")
    line = "tenants list --all --page-size 2 --skip 1 --prefetch 1 --on-drift ignore -f jsonl"
    assert run(line.split()) == 0
    sent = [request.query for request in emulator.requests]
    assert sent == ["skip=1&limit=2", "skip=3&limit=2", "skip=5&limit=2"]
    assert len(capsys.readouterr().out.splitlines()) == 4


def last_body(emulator: Emulator) -> Any:
    """Return the decoded body of the last request."""
    return json.loads(emulator.requests[-1].body)


def test_a_payload_is_json_or_a_file(emulator: Emulator, tmp_path: Path) -> None:
    """An option that accepts JSON also accepts a file, as `@FILE`."""
    (tmp_path / "payload.json").write_text('{"since": "2026-01-01", "é": 1}', encoding="utf-8")
    sync = ["integrations", "sync", "1", "--user-name", "ann", "--payload"]
    assert run([*sync, f"@{tmp_path / 'payload.json'}"]) == 0
    assert last_body(emulator) == {"since": "2026-01-01", "é": 1}
    assert run([*sync, '{"all": true}']) == 0
    assert last_body(emulator) == {"all": True}


def test_a_payload_can_come_from_standard_input(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value `@-` reads standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 2}')))
    assert run(["tenants", "update-metadata", "1", "@-"]) == 0
    assert last_body(emulator) == {"a": 2}


def test_an_update_sends_only_the_given_fields(emulator: Emulator) -> None:
    """An update sends the fields of its options and those passed with `--set` as JSON."""
    line = "tenants update 1 --active --user-schedule=* --set other=[1,null]"
    run(line.split(" "))
    assert last_body(emulator) == {"paused": False, "user_schedule": "*", "other": [1, None]}


def test_a_connector_call_sends_its_query_headers_and_body(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """All parts of a connector call are sent, and the upstream's data is printed as JSON."""
    line = f"connectors call 1 shop {URL} -X PUT --query a=1 --query a=2 --query b=x=y --header N=v"
    assert run([*line.split(" "), "--body", '{"total": 3}']) == 0
    assert last_body(emulator) == {
        "method": "PUT",
        "target_url": URL,
        "headers": {"N": "v"},
        "query_params": {"a": ["1", "2"], "b": "x=y"},
        "body": {"total": 3},
    }
    assert json.loads(capsys.readouterr().out)["body"] == {"total": 3}


def test_text_of_an_upstream_is_written_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An XML or SOAP response is printed as a document, not as a JSON string."""
    assert run(["connectors", "xml", "1", "shop", URL, "--data", "<a/>"]) == 0
    assert capsys.readouterr().out == "<xml><a/></xml>\n"


def test_an_upstreams_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """An upstream error ends with exit code 4 and one line that contains its status."""
    assert run(["connectors", "call", "1", "shop", URL, "-X", "DELETE"]) == 4
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert "418" in written.err


def test_a_request_sends_parameters_headers_and_json(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`request` sends its parameters, headers and body, and prints the response as JSON."""
    line = "request post /v2/tenants/1/sync --param mode=init --header X-Note=1"
    assert run([*line.split(" "), "--json", '{"a": 1}']) == 0
    sent = emulator.requests[-1]
    assert (sent.query, sent.headers["x-note"], sent.body) == ("mode=init", "1", b'{"a":1}')
    assert json.loads(capsys.readouterr().out) == {"trigger_id": "1"}


INVALID = [
    ("tenants list --columns id", "--columns requires --format csv"),
    ("integrations sync 1 --user-name ann -f csv --columns x", "no column 'x'; there are trigger"),
    ("tenants sync 1 -f csv --columns tenant", "no column 'tenant'; there are tenant_id, trigger"),
    ("tenants sync 1 --wait -f csv --columns x", "no column 'x'; there are tenant_id, trigger_id"),
    ("tenants sync", "specify either tenant ids or --integration"),
    ("tenants sync 1 --integration 1", "specify either tenant ids or --integration"),
    ("tenants sync 1 --journal a.db", "--journal requires --wait"),
    ("tenants sync 1 --wait --retry-unknown", "--retry-unknown requires --journal"),
    ("tenants sync 1 --wait --journal a.db --job a", "--job requires the URL of a PostgreSQL"),
    ("tenants sync 1 --wait --job a", "--job requires the URL of a PostgreSQL journal"),
    ("tenants sync 1 --wait --accept-failover", "--accept-failover requires the URL of"),
    ("tenants sync 1 --wait --journal postgres://a@b/c", "a PostgreSQL journal requires --job"),
    ("journal show postgresql://a@b/c", "a PostgreSQL journal requires --job"),
    ("journal show POSTGRESQL://a:sekrit@b/c", "journal must be a file path, not a URL"),
    ("journal show password=sekrit", "journal must be a file path, not a URL or connection string"),
    ("journal show 'postgresql://a:sekrit@b/c'", "journal must be a file path, not a URL"),
    ("journal show jdbc:postgresql://a:sekrit@b/c", "journal must be a file path, not a URL"),
    ("journal show a.db --job a", "--job requires the URL of a PostgreSQL journal"),
    ("tenants sync 1 --payload [1]", "must be a JSON object"),
    ("tenants sync 1 --payload {", "invalid JSON"),
    ('tenants sync 1 --payload {"a":NaN}', "NaN is not a JSON number"),
    ('tenants sync 1 --payload {"a":1e999}', "invalid JSON: Out of range float values"),
    ('tenants sync 1 --payload {"a":"\\ud800"}', "invalid JSON: 'utf-8' codec can't encode"),
    ("tenants sync 1 --payload @nowhere.json", "cannot read nowhere.json: No such file"),
    (f"tenants sync 1 --payload @{sys.executable}", "is not UTF-8 text"),
    ("tenants sync x", "'x' is not a valid number"),
    ("tenants list --all --limit 3", "--all and --limit cannot be combined"),
    ("tenants list --sort-by name", "--sort-by must be '<field>__ASC'"),
    ("tenants list --page-size 501", "501 is not in the range 1<=x<=500"),
    ("tenants list --format xml", "'xml' is not one of"),
    ("tenants create 1 A", "NAME must be lower-case letters"),
    ("tenants create 1 a --release-id 1 --release-channel Latest", "mutually exclusive"),
    ("tenants update 1", "specify at least one field"),
    ("tenants update 1 --set archived", "must have the form NAME=VALUE, not 'archived'"),
    ("connectors call 1 shop u --query =1", "must have the form NAME=VALUE, not '=1'"),
    ("runs wait", "Missing argument 'TRIGGER...'"),
    ("request fetch /v2/tenants", "METHOD must be one of"),
    ("request get v2", "PATH must begin with one slash"),
    ("tenant list", "No such command 'tenant'"),
    (
        "runs wait 1 --min-interval 2 --max-interval 0.5",
        "--min-interval (2) must be at most --max-interval (0.5)",
    ),
    ("watch --every 0", "must be greater than 0 and at most 1000000000, not 0"),
    ("watch --every inf", "'inf' is not a valid number"),
    ("tenants update 1 --name a --set name=2", "name was specified twice"),
    ("tenants update 1 --set a=1 --set a=2", "a was specified twice"),
    ("tenants update 1 --set tenant_id=5", "tenant_id cannot be changed"),
    ("tenants update 1 --set self=5", "self cannot be changed"),
    ("tenants update 1 --release-id 5 --set integration_release_id=6", "are the same field"),
]


@pytest.mark.parametrize(("line", "message"), INVALID)
def test_an_invalid_command_line_is_one_line(
    line: str, message: str, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid command line ends with a one-line message and exit code 2. Nothing is sent."""
    assert run(line.split(" ")) == 2
    written = capsys.readouterr()
    assert (written.out, written.err.count("\n")) == ("", 1)
    assert written.err.startswith("pandium-api: error: ")
    assert message in written.err
    assert list(emulator.requests) == []


def _find_commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _find_commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


ALL_COMMANDS = dict(_find_commands(app))
# The emulator parses and documents its own options, and completion has an example per shell.
UNDOCUMENTED = ("completion", "emulator")
DOCUMENTED = [name for name in sorted(ALL_COMMANDS) if not name.startswith(UNDOCUMENTED)]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_help_of_each_command_has_a_valid_example(name: str) -> None:
    """Each command's help contains an example, which is a valid command line."""
    examples = re.findall(r"^ *Example: (.+)$", ALL_COMMANDS[name].help or "", re.MULTILINE)
    assert len(examples) == 1, f"{name}: add a line 'Example: pandium-api {name} …' to its help"
    words = shlex.split(examples[0])
    program, *path = ["pandium-api", *name.split()]
    assert words[: len(path) + 1] == [program, *path]
    ALL_COMMANDS[name].make_context(name, words[len(path) + 1 :])


# These numbers stand for the records of the emulator. The others occur in one example each.
IDS = {"42": "1", "7": "1", "17": "1", "18": "2", "301": "1"}
# These examples need an account, or do not end by themselves.
NOT_RUN = ("demo", "doctor", "mcp", "journal show", "watch")


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if name not in NOT_RUN])
def test_each_example_runs(
    name: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example in a command's help succeeds against the emulator."""
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"^ *Example: (.+)$", ALL_COMMANDS[name].help or "", re.MULTILINE)
    prepare_records(emulator, has_build="wait" in name)
    words = [IDS.get(word, word) for word in shlex.split(example)[1:]]
    assert run(words) == 0


def prepare_records(emulator: Emulator, *, has_build: bool) -> None:
    """Add what the examples refer to: connectors, two runs, and a release of a build."""
    emulator.connectors.register("crm", upstream)
    emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
    if has_build:
        emulator.add_release(1, tag="v1.4.0")
    for _ in range(2):
        run(["tenants", "sync", "1"])


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_argument_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of a command that sends requests explains its arguments, without ranges."""
    command = ALL_COMMANDS[name]
    if isinstance(command, Command):
        assert run([*name.split(), "--help"]) == 0
        text = capsys.readouterr().out
        arguments = [one for one in command.params if isinstance(one, click.Argument)]
        assert ("Arguments:" in text) is bool(arguments)
        assert "Connection options:" in text
        assert "x>=" not in text


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_option_has_a_help_text(name: str) -> None:
    """Each option of a command has a help text."""
    command = ALL_COMMANDS[name]
    for parameter in command.get_params(click.Context(command)):
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name}: {parameter.opts} has no help"


@pytest.mark.parametrize(("typed", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_archiving_asks_on_a_terminal(
    typed: str, code: int, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, a tenant is archived only after a yes. `--yes` skips the question."""
    monkeypatch.setattr(sys, "stdin", Terminal(f"{typed}\n"))
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: typed)
    assert run(["tenants", "archive", "1"]) == code
    assert bool(emulator.requests) is (code == 0)
    emulator.requests.clear()
    assert run(["tenants", "archive", "1", "--yes"]) == 0
    assert [request.method for request in emulator.requests] == ["DELETE"]


def test_csv_is_flat_and_has_the_chosen_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Nested records become columns with dots, of which `--columns` selects some, in its order."""
    assert run(["tenants", "list", "-f", "csv"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split(",")
    assert "status.auth.connected" in header
    assert "status" not in header
    columns = ["--columns", "name,id,status.auth.connected"]
    assert run(["tenants", "list", "-f", "csv", *columns]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name,id,status.auth.connected", "acme,1,true"]


# What comes first on a command line: the record that contains the others, then what is in it.
ORDER = [
    *("integration_id", "tenant_id", "tenant_ids", "release_id", "connector", "run_id"),
    *("triggers", "trigger", "name", "tag", "method", "path", "target_url", "data"),
]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_arguments_have_the_same_order_in_all_commands(name: str) -> None:
    """A record precedes what it contains, and ids precede other values."""
    arguments = [one.name for one in ALL_COMMANDS[name].params if isinstance(one, click.Argument)]
    if len(arguments) > 1:
        assert arguments == sorted(arguments, key=lambda argument: ORDER.index(argument or ""))


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if name not in ("demo", "mcp")])
def test_every_command_that_prints_data_has_a_format(name: str) -> None:
    """Each command that prints records or data accepts `--format`."""
    options = {option for parameter in ALL_COMMANDS[name].params for option in parameter.opts}
    assert "--format" in options
