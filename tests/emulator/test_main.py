"""The command that runs an emulator."""

import io
import json
import os
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

import pandium
from pandium.emulator import Emulator
from pandium.emulator.__main__ import main
from support.posix import ENDING_SIGNALS
from support.waiting import wait_until


class Signalling(io.StringIO):
    """Standard output that sends requests and then a signal once the line is printed."""

    def flush(self) -> None:
        [line] = self.getvalue().splitlines()
        with httpx.Client(base_url=line.split()[-1], headers={"x-api-key": "k"}) as http:
            self.answer = http.get("/v2/tenants")
            self.speed = http.get("/_emulator/clock").json()["speed"]
            http.post("/v2/tenants", json={"name": "made", "integration_id": 1})
        self.handlers = {one: signal.getsignal(one) for one in signal.valid_signals()}
        os.kill(os.getpid(), signal.SIGTERM)


def run(*arguments: str) -> tuple[int, Signalling]:
    with redirect_stdout(Signalling()) as output:
        return main(["--port", "0", *arguments]), output


def test_the_command_serves_until_a_signal() -> None:
    """It prints one line with the URL, responds, and restores the signal handlers."""
    before = signal.getsignal(signal.SIGTERM)
    code, output = run("--api-key", "k", "--seed", "demo")
    assert code == 0
    assert re.fullmatch(r"Pandium emulator: http://127\.0\.0\.1:\d+\n", output.getvalue())
    assert len(output.answer.json()) > 10
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.posix
def test_a_closed_terminal_does_not_end_what_was_started_with_nohup() -> None:
    """Only SIGHUP remains ignored. A shell ignores SIGINT in jobs that it starts with `&`."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    handlers = run()[1].handlers
    ignored = [number for number in ENDING_SIGNALS if handlers[number] is signal.SIG_IGN]
    assert ignored == [signal.SIGHUP]


@pytest.mark.parametrize("name", ["state.json", "state.yaml"])
def test_a_state_file_is_loaded_and_saved(tmp_path: Path, name: str) -> None:
    """The file is created from the seed, and later loaded instead of it."""
    path = tmp_path / name
    for before in (0, 1, 2):
        code, output = run("--seed", str(seed(tmp_path)), "--state", str(path))
        assert code == 0
        assert len(output.answer.json()) == before
    assert len(Emulator(path).tenants) == 3


def seed(folder: Path) -> Path:
    path = folder / "seed.yaml"
    path.write_text("integrations: [{name: one}]")
    return path


def test_the_speed_of_the_clock_can_be_set() -> None:
    """With a high speed, a test need not wait for long runs."""
    code, output = run("--speed", "5000")
    assert code == 0
    assert output.speed == 5000


def test_a_state_that_cannot_be_saved_at_the_end_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 if the folder of the file no longer exists."""
    folder = tmp_path / "folder"
    folder.mkdir()

    class Removing(Signalling):
        def flush(self) -> None:
            shutil.rmtree(folder)
            super().flush()

    with redirect_stdout(Removing()):
        assert main(["--port", "0", "--state", str(folder / "state.json")]) == 1
    assert "the state could not be saved" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "/absent"], "--seed /absent: cannot read '/absent': No such file"),
        (["--seed", "dmeo"], "--seed dmeo: there is no seed 'dmeo'"),
        (["--seed", "{bad}"], r"--seed \S+bad.json: tenants\[1\].name: must be lowercase"),
        (["--state", "{bad}"], r"--state \S+bad.json: tenants\[1\].name: must be lowercase"),
        (["--state", "/absent/state.json"], "cannot write '/absent/state.json': No such file"),
        (["--port", "{taken}"], r"port \d+ of 127.0.0.1 cannot be used"),
        (["--port", "65536"], "argument --port: must be a number from 0 to 65535, not '65536'"),
        (["--port", "-1"], "argument --port: "),
        (["--api-key", " "], "argument --api-key: must not be empty"),
        (["--speed", "0"], "argument --speed: must be a number above 0, not '0'"),
        (["--speed", "fast"], "argument --speed: must be a number above 0"),
        (["--host", "0.0.0.0"], "unrecognized arguments: --host"),
    ],
)
def test_an_invalid_option_is_reported(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, and the last line names the place without a traceback."""
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"integrations": [{}], "tenants": [{}, {"name": "No"}]}))
    with Emulator() as taken, pytest.raises(SystemExit) as ended:
        main(["--port", "0", *(one.format(taken=taken.port, bad=bad) for one in arguments)])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert re.match(
        f"python -m pandium.emulator: error: .*{message}", captured.err.splitlines()[-1]
    )
    assert captured.out == ""


def test_the_module_is_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m pandium.emulator --help` prints the options."""
    monkeypatch.setattr(sys, "argv", ["emulator", "--help"])
    with pytest.raises(SystemExit) as ended:
        # By its path, as pytest reads the modules of an installed plugin itself.
        runpy.run_path(main.__code__.co_filename, run_name="__main__")
    assert ended.value.code == 0
    assert "--api-key" in capsys.readouterr().out


@pytest.mark.posix
@pytest.mark.parametrize(
    ("program", "name"),
    [
        (["-m", "pandium.emulator"], "python -m pandium.emulator"),
        (["-m", "pandium_api", "emulator"], "pandium-api emulator"),
    ],
)
def test_a_url_that_cannot_be_printed_ends_the_command(program: list[str], name: str) -> None:
    """The exit code is 74, or 141 if the reader has gone, and no traceback is printed."""
    command = [sys.executable, *program, "--port", "0"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, timeout=60)
    message = f"{name}: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (74, message)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as gone:
        done = subprocess.run(command, check=False, stdout=gone, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (141, b"")


IMPORTED_FROM_A_ZIP = """
import httpx, pandium
from pandium.emulator import Emulator

assert ".zip" in pandium.__file__
with Emulator() as emulator:
    for path in ("/", "/_emulator/docs"):
        print(httpx.get(emulator.url + path).status_code)
"""


def test_the_pages_are_found_in_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may be distributed as a zip file, for example with `zipapp`."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # it would measure this copy
    package = Path(pandium.__file__).parent
    with ZipFile(tmp_path / "app.zip", "w") as archive:
        for path in package.rglob("*"):
            if "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(package.parent))
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_FROM_A_ZIP],
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "app.zip")},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert done.stdout.split() == [b"200", b"200"]


@pytest.mark.posix
@pytest.mark.usefixtures("signals_end_children")
@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_a_process_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """It prints one line, exits with 0, saves its state, and leaves nothing else behind."""
    path = tmp_path / "state.json"
    command = [sys.executable, "-m", "pandium.emulator", "--port", "0", "--state", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert create_tenant(process) == 200
            process.send_signal(number)
            assert process.communicate(timeout=30) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()  # otherwise, a failing test would wait for it forever
    assert [one.name for one in Emulator(path).tenants] == ["made"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.posix
@pytest.mark.usefixtures("signals_end_children")
@pytest.mark.parametrize("attempt", range(3))
def test_signals_that_arrive_together_end_a_busy_process(attempt: int) -> None:
    """Several signals at once end the process, although it is handling requests."""
    command = [sys.executable, "-m", "pandium.emulator", "--port", "0", "--seed", "demo"]

    def read(url: str) -> None:
        with httpx.Client(base_url=url) as http, suppress(httpx.HTTPError):
            while process.poll() is None:
                http.get("/v2/tenants", headers={"x-api-key": "k"})

    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor() as clients,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            for _ in range(3):
                clients.submit(read, url)
            wait_until(lambda: len(httpx.get(f"{url}/_emulator/requests").json()["requests"]) > 30)
            for number in [signal.SIGSTOP, *ENDING_SIGNALS, signal.SIGCONT]:
                process.send_signal(number)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def create_tenant(process: subprocess.Popen[str]) -> int:
    """Return the status of a response of an emulator in a process."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0], "it says nothing"
    url = process.stdout.readline().split()[-1]
    body = {"name": "made", "integration_id": 1}
    return httpx.post(f"{url}/v2/tenants", json=body, headers={"x-api-key": "k"}).status_code
