"""The `builds` commands: results, time limits and Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING

import pytest

from pandium._cli.app import run
from pandium.emulator.network.faults import Stall
from support.cli import DEADLINE, api_variables, sent_posts, start_child
from support.servers import Misbehaving, status
from support.waiting import wait_until

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytestmark = pytest.mark.usefixtures("api_environment")

BUILD = "/v2/sourcecontrol/build"


def test_a_build_is_followed_to_its_release(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """`builds create --wait` shows the release of the build, which was created once."""
    line = ["builds", "create", "1", "v2", "--wait", "-f", "jsonl"]
    assert run(line) == 0
    written = capsys.readouterr()
    assert json.loads(written.out)["tag"] == "v2"
    assert written.err == "pandium-api: created build v2; waiting for its release\n"
    assert sent_posts(emulator) == [BUILD]


def test_the_branch_and_the_mode_are_sent(emulator: Emulator) -> None:
    """The options of `builds create` are sent. The mode is `normal` by default."""
    assert run(["builds", "create", "1", "v2", "--branch", "main"]) == 0
    assert run(["builds", "create", "1", "v3", "--mode", "init"]) == 0
    first, second = emulator.requests
    assert (first.query, json.loads(first.body)["branch"]) == ("mode=normal", "main")
    assert (second.query, "branch" in json.loads(second.body)) == ("mode=init", False)


def test_the_time_limit_says_how_to_resume(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the time limit, the exit code is 5, and the printed command waits again."""
    assert run(["builds", "wait", "1", "v 2", "--wait-timeout", "0.05"]) == 5
    error, resume = capsys.readouterr().err.splitlines()
    assert error.startswith("pandium-api: error: no release has the tag 'v 2' after 0.05 s")
    words = shlex.split(resume.removeprefix("pandium-api: to resume, run: "))
    assert words == ["pandium-api", "builds", "wait", "1", "v 2"]
    emulator.add_release(1, tag="v 2")
    assert run(words[1:]) == 0
    assert "v 2" in capsys.readouterr().out


def test_a_tag_that_looks_like_an_option_can_be_waited_for_again(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command separates such a tag from the options."""
    assert run(["builds", "wait", "--wait-timeout", "0.05", "--", "1", "-v2"]) == 5
    resume = capsys.readouterr().err.splitlines()[1]
    words = shlex.split(resume.removeprefix("pandium-api: to resume, run: "))
    emulator.add_release(1, tag="-v2")
    assert run(words[1:]) == 0


def test_columns_of_a_response_cannot_be_chosen(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --wait, --columns is an error before anything is sent, because it has no effect."""
    assert run(["builds", "create", "1", "v2", "--format", "csv", "--columns", "id"]) == 2
    assert "error: --columns requires --wait" in capsys.readouterr().err.lower()
    assert len(emulator.requests) == 0


def test_a_build_that_is_rejected_is_not_waited_for(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the build cannot be created, the error is reported and nothing is polled."""
    assert run(["builds", "create", "99", "v2", "--wait"]) == 4
    assert "to resume" not in capsys.readouterr().err
    assert len(emulator.requests) == 1


@pytest.mark.posix
def test_ctrl_c_says_how_to_resume() -> None:
    """After Ctrl-C, the message contains a command that waits for the release."""
    created = status("201 Created")
    with Misbehaving(created, otherwise=status("200 OK", b"[]")) as server:
        line = ["builds", "create", "7", "v2", "--wait"]
        child = start_child(*line, environ=api_variables(server.url))
        assert child.stderr is not None
        assert child.stderr.readline() == (
            "pandium-api: created build v2; waiting for its release\n"
        )
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 130
    hint = "pandium-api: to resume, run: pandium-api builds wait 7 v2"
    assert errors == f"pandium-api: interrupted\n{hint}\n"


@pytest.mark.posix
def test_a_creation_that_ctrl_c_ends_may_have_been_executed(emulator: Emulator) -> None:
    """Ctrl-C before the response is reported as an unknown outcome, without a command to resume."""
    rule = emulator.faults.add("builds.create", Stall())
    line = ["builds", "create", "1", "v2", "--wait"]
    child = start_child(*line, environ=api_variables(emulator.url))
    wait_until(lambda: rule.hits)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=DEADLINE)
    assert child.returncode == 130
    assert errors.splitlines() == [
        "pandium-api: interrupted",
        "pandium-api: the build may or may not have been created",
    ]
