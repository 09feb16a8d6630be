"""Syncs and waits from the command line: what is written, the exit codes, bars and Ctrl-C."""

from __future__ import annotations

import io
import json
import shlex
import signal
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from pandium._cli.app import run
from support.cli import KEY, PATIENCE, Interrupting, Screen, of, run_on_terminal, start_child

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_httpx import HTTPXMock

    from pandium.emulator import Emulator

GOING_ON = "pandium-api runs wait 1 goes on"
QUICKLY = ["--min-interval", "0.05", "--poll-rate", "1000"]


@pytest.fixture(autouse=True)
def _api(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def script(emulator: Emulator, *words: str, seconds: float = 0) -> list[str]:
    """Add a tenant for each word with which its runs end, and give their ids."""
    ids = []
    for word in words:
        tenant = emulator.add_tenant()
        phases = [(word, seconds)]
        emulator.runs.script(tenant=tenant.id, appears_after=0.05, phases=phases)
        ids.append(str(tenant.id))
    return ids


def endings(out: str) -> dict[int | None, tuple[str, str | None]]:
    rows = [json.loads(row) for row in out.splitlines()]
    return {row["tenant_id"]: (row["outcome"], row["status"]) for row in rows}


@pytest.mark.parametrize(
    ("words", "code", "summary"),
    [
        (["Succeeded", "Completed"], 0, "2 succeeded"),
        (["Succeeded", "Failed (Timeout)"], 1, "1 failed, 1 succeeded"),
        (["Succeeded", "Going on"], 5, "1 succeeded, 1 timeout"),
        (["Failed (Refresh)", "Going on"], 1, "1 failed, 1 timeout"),
    ],
)
def test_the_exit_code_of_a_wait_tells_how_the_runs_ended(
    words: list[str],
    code: int,
    summary: str,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """0: all succeeded; 1: some failed; 5: the time limit came before some ended."""
    ids = script(emulator, *words)
    line = ["tenants", "sync", *ids, "--wait", "--wait-timeout", "0.5", *QUICKLY, "-f", "jsonl"]
    assert run(line) == code
    written = capsys.readouterr()
    ends = endings(written.out)
    assert [ends[int(one)][0] for one in ids] == [_outcome(word) for word in words]
    assert written.err.startswith(f"pandium-api: {summary}\n")
    assert ("not over yet: pandium-api runs wait 2 goes on" in written.err) is ("Going on" in words)


def test_what_goes_on_speaks_to_the_same_server(
    emulator: Emulator,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command that waits on has the options that say where, and whose key; it can be run."""
    monkeypatch.delenv("PANDIUM_API_KEY")
    monkeypatch.delenv("PANDIUM_BASE_URL")
    key = tmp_path / "a key"
    key.touch(mode=0o600)
    key.write_text(KEY)
    there = ["--base-url", emulator.url, "--key-file", str(key)]
    [tenant] = script(emulator, "Going on", seconds=1)
    line = ["tenants", "sync", tenant, "--wait", *QUICKLY, "--wait-timeout", "0.3"]
    assert run([*there, *line]) == 5
    _, _, said = capsys.readouterr().err.partition("not over yet: ")
    words = shlex.split(said.removesuffix(" goes on\n"))
    assert words == ["pandium-api", "runs", "wait", *there, "1"]
    assert run([*words[1:], *QUICKLY, "--wait-timeout", "0.1"]) == 5


def _outcome(word: str) -> str:
    known = {"Succeeded": "succeeded", "Completed": "succeeded", "Going on": "timeout"}
    return known.get(word, "failed")


def test_runs_can_be_waited_for_by_their_triggers(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The triggers that `tenants sync` writes are what `runs wait` takes, each of them once."""
    ids = script(emulator, "Succeeded", "Failed (Timeout)")
    assert run(["tenants", "sync", *ids]) == 0
    written = capsys.readouterr()
    title, *rows = [row.split() for row in written.out.splitlines()]
    assert title == ["TENANT", "TRIGGER"]
    triggers = [row[1] for row in rows]
    assert run(["runs", "wait", *triggers, triggers[0], *QUICKLY]) == 1
    written = capsys.readouterr()
    assert sorted(row.split()[:2] for row in written.out.splitlines()[1:]) == [
        ["1", "succeeded"],
        ["2", "failed"],
    ]
    assert "Failed (Timeout)" in written.out
    assert written.err == "pandium-api: 1 failed, 1 succeeded\n"


def test_all_tenants_of_an_integration_can_be_synced(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--integration` syncs each tenant of it once, and no other."""
    other = emulator.add_integration().id
    script(emulator, "Succeeded", "Succeeded", "Succeeded")
    emulator.add_tenant(integration_id=other)
    line = ["tenants", "sync", "--integration", "1", "--wait", "--max-concurrency", "2", *QUICKLY]
    assert run([*line, "-f", "jsonl", "--mode", "init", "--payload", '{"a": 1}']) == 0
    assert set(endings(capsys.readouterr().out)) == {1, 2, 3}
    sent = [one for one in emulator.requests if one.method == "POST"]
    assert sorted(one.path for one in sent) == [f"/v2/tenants/{n}/sync" for n in (1, 2, 3)]
    assert {(one.query, one.body) for one in sent} == {("mode=init", b'{"a":1}')}


def test_so_many_tenants_are_under_way_at_once(emulator: Emulator) -> None:
    """`--max-concurrency` counts a tenant from the request for its sync to the end of its run."""
    ids = script(emulator, "Succeeded", "Succeeded", "Succeeded")
    assert run(["tenants", "sync", *ids, "--wait", "--max-concurrency", "1", *QUICKLY]) == 0
    sent = [(one.method, one.path, one.status) for one in emulator.requests]
    for number in (1, 2):
        seen = sent.index(("GET", f"/v2/runs/triggers/{number}/status", 200))
        assert seen < sent.index(("POST", f"/v2/tenants/{number + 1}/sync", 202))


@pytest.mark.parametrize("more", [[], ["--wait"]])
@pytest.mark.parametrize(("ids", "code"), [(["1", "98"], 1), (["98", "99"], 4)])
def test_a_tenant_that_cannot_be_synced_leaves_the_others_alone(
    more: list[str],
    ids: list[str],
    code: int,
    emulator: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the API refuses for one tenant is one failure, 1; 4 if it refuses them all."""
    script(emulator, "Succeeded")
    assert run(["tenants", "sync", *ids, *more, *(QUICKLY if more else [])]) == code
    written = capsys.readouterr()
    assert "404 Not Found: Tenant 98 not found" in (written.out if more else written.err)


@pytest.mark.parametrize("more", [[], ["--wait"]])
def test_an_integration_that_is_not_there_is_an_error(
    more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It would have no tenants to sync either, and a slip of the pen would pass for success."""
    assert run(["tenants", "sync", "--integration", "99", *more]) == 4
    assert "404 Not Found: Integration 99 not found" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--wait"]])
def test_nothing_to_sync_is_no_error(
    more: list[str], emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """An integration without tenants ends with 0, and standard error says that."""
    empty = str(emulator.add_integration().id)
    assert run(["tenants", "sync", "--integration", empty, *more]) == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("pandium-api: there is nothing to ")


def answer(httpx_mock: HTTPXMock, path: str, status: int, json: Any) -> None:
    httpx_mock.add_response(url=_url(path), status_code=status, json=json, is_reusable=True)


def _url(path: str) -> httpx.URL:
    return httpx.URL(f"https://api.pandium.io{path}")


@pytest.fixture
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANDIUM_BASE_URL")


@pytest.mark.usefixtures("_at_home")
@pytest.mark.parametrize("more", [[], ["--wait"]])
def test_a_sync_that_may_have_happened_is_not_repeated(
    more: list[str], httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no answer came the outcome is unknown, the request is sent once, and the code is 1."""
    httpx_mock.add_exception(httpx.ReadError("cut off"), url=_url("/v2/tenants/1/sync?mode=normal"))
    assert run(["tenants", "sync", "1", *more]) == 1
    written = capsys.readouterr()
    assert len(httpx_mock.get_requests()) == 1
    assert ("unknown" in written.out) is bool(more)
    assert "/v2/tenants/1/sync" in (written.out if more else written.err)


@pytest.mark.usefixtures("_at_home")
def test_a_listing_that_breaks_off_ends_the_wait_after_what_it_gave(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tenants that were listed before an error are synced and waited for; then it is told, 4."""
    tenants = [{"id": one, "name": f"t-{one}"} for one in range(1, 501)]

    def respond(request: httpx.Request) -> httpx.Response:
        path, number = request.url.path, request.url.path.split("/")[-2]
        if path == "/v2/tenants":
            is_first = request.url.params["skip"] == "0"
            return httpx.Response(200, json=tenants) if is_first else httpx.Response(400, text="no")
        if path.endswith("/sync"):
            return httpx.Response(200, json={"trigger_id": number})
        return httpx.Response(200, json={"status": "Succeeded"})

    httpx_mock.add_callback(respond, is_reusable=True)
    line = ["tenants", "sync", "--integration", "1", "--wait", "--min-interval", "0.01"]
    assert run([*line, "--poll-rate", "100000", "-f", "jsonl"]) == 4
    written = capsys.readouterr()
    assert len(endings(written.out)) == 500
    assert written.err.endswith("400 Bad Request: no\n")


def test_a_bar_is_drawn_on_a_terminal_and_taken_away(emulator: Emulator) -> None:
    """On a terminal a bar counts while runs are waited for; at the end there is the table alone."""
    ids = script(emulator, "Succeeded", "Failed (Timeout)")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1"]
    code, screen = run_on_terminal(*line, columns=120, environ=of(emulator.url))
    assert code == 1
    assert "━" in screen.written
    assert "2/2" in screen.written
    title, *rows, summary = [row for row in screen.rows if row]
    assert title.startswith("TENANT")
    assert sorted(row.split()[0] for row in rows) == ids
    assert summary == "pandium-api: 1 failed, 1 succeeded"


def test_there_is_no_bar_where_colour_is_refused(emulator: Emulator) -> None:
    """With `NO_COLOR` a terminal gets lines alone."""
    ids = script(emulator, "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1"]
    code, screen = run_on_terminal(*line, environ=of(emulator.url, NO_COLOR="1"))
    assert code == 0
    assert "\x1b" not in screen.written
    assert "━" not in screen.written


def test_records_stay_on_a_terminal_with_a_bar(emulator: Emulator) -> None:
    """The bar comes and goes below what is written for programs, and takes none of it away."""
    ids = script(emulator, "Succeeded", "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--min-interval", "0.1", "-f", "json"]
    code, screen = run_on_terminal(*line, columns=250, environ=of(emulator.url))
    assert code == 0
    *array, summary = [row for row in screen.rows if row]
    assert sorted(one["tenant_id"] for one in json.loads("".join(array))) == [1, 2]
    assert summary == "pandium-api: 2 succeeded"


def triggered(emulator: Emulator, *words: str) -> list[str]:
    """Ask for a sync for each word with which its run ends, and give the triggers."""
    capture = io.StringIO()
    with redirect_stdout(capture):
        assert run(["tenants", "sync", *script(emulator, *words), "-f", "jsonl"]) == 0
    return [json.loads(row)["trigger_id"] for row in capture.getvalue().splitlines()]


def test_an_interrupted_wait_says_what_goes_on(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C there is a command that waits for the runs that are under way."""
    triggers = triggered(emulator, "Going on", "Succeeded")
    monkeypatch.setattr(sys, "stdout", Interrupting("succeeded"))
    with pytest.raises(KeyboardInterrupt):
        run(["runs", "wait", *triggers, *QUICKLY])
    assert capsys.readouterr().err == f"pandium-api: interrupted; {GOING_ON}\n"


@pytest.mark.usefixtures("_at_home")
@pytest.mark.parametrize(
    ("more", "max_concurrency"), [([], "1"), (["--wait", "--min-interval", "0.01"], "2")]
)
def test_an_interrupted_sync_says_what_is_not_known(
    more: list[str], max_concurrency: str, httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C each tenant is told of: its trigger, that nobody knows, or that it has none."""
    looked = anyio.Event()

    async def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v2/runs"):
            looked.set()
            return httpx.Response(404, json={"message": "not yet"})
        if request.url.path.endswith("/5/sync"):
            return httpx.Response(200, json={"trigger_id": "17"})
        if more:
            await looked.wait()
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()
        raise AssertionError

    httpx_mock.add_callback(respond, is_reusable=True)
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "sync", "5", "6", "7", "8", "--max-concurrency", max_concurrency, *more])
    written = capsys.readouterr()
    assert ("pandium-api runs wait 17 goes on" in written.err) is bool(more)
    assert ("17" in written.out) is not bool(more)
    assert "nobody knows whether these tenants were synced: 6; these were not: 7 8" in written.err


@pytest.mark.usefixtures("_at_home")
def test_a_second_ctrl_c_does_not_break_off_what_the_first_puts_in_order(
    httpx_mock: HTTPXMock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Soon after Ctrl-C another is not heard: what has begun to end comes to its end."""
    ended = []

    async def respond(_: httpx.Request) -> httpx.Response:
        signal.raise_signal(signal.SIGINT)
        try:
            await anyio.sleep_forever()
        finally:
            signal.raise_signal(signal.SIGINT)
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ended.append("in good order")
        raise AssertionError

    httpx_mock.add_callback(respond)
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "sync", "6"])
    assert ended == ["in good order"]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("_at_home")
def test_an_ignored_ctrl_c_stays_ignored(httpx_mock: HTTPXMock) -> None:
    """A shell that keeps Ctrl-C from what it runs in the background keeps it from a command."""
    httpx_mock.add_response(json={"trigger_id": "17"})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(["tenants", "sync", "6"]) == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_sync_of_an_integration_says_that_it_has_more(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C nobody takes the syncs of an integration for complete that are not."""
    for _ in range(501):
        emulator.add_tenant()
    monkeypatch.setattr(sys, "stdout", Interrupting(" 1"))
    with pytest.raises(KeyboardInterrupt):
        run(["tenants", "sync", "--integration", "1", "--max-concurrency", "1"])
    assert "integration 1 has more tenants" in capsys.readouterr().err


def test_ctrl_c_ends_a_wait_with_130(emulator: Emulator) -> None:
    """The interrupt of a child ends it with 130, one line on standard error and no traceback."""
    line = ["runs", "wait", *triggered(emulator, "Going on", "Succeeded"), "--min-interval", "0.1"]
    child = start_child(*line, "-f", "jsonl", environ=of(emulator.url))
    assert child.stdout is not None
    assert '"succeeded"' in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    rest, errors = child.communicate(timeout=PATIENCE)
    assert (child.returncode, rest) == (130, "")
    assert errors == f"pandium-api: interrupted; {GOING_ON}\n"


def test_ctrl_c_on_a_terminal_leaves_it_usable(emulator: Emulator) -> None:
    """Ctrl-C on a terminal takes the bar away, shows the cursor again, and says what goes on."""
    line = ["runs", "wait", *triggered(emulator, "Going on", "Succeeded"), "--min-interval", "0.1"]
    awaited = iter(["succeeded", "nothing more"])
    text = [next(awaited)]

    def press(screen: Screen) -> bytes | None:
        if text[0] not in screen.written:
            return None
        text[0] = next(awaited)
        return b"\x03"

    code, screen = run_on_terminal(*line, columns=120, answer=press, environ=of(emulator.url))
    assert code == 130
    assert f"pandium-api: interrupted; {GOING_ON}" in screen.text
    assert "━" not in screen.text
    assert screen.written.rindex("\x1b[?25h") > screen.written.rindex("\x1b[?25l")
    assert "Traceback" not in screen.written
