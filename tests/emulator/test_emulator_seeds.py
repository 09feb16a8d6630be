"""Seeds, and the command that serves them."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest
from emulating import served

from pandium.emulator import Emulator
from pandium.emulator.__main__ import main

SEED: dict[str, Any] = {
    "integrations": [{"id": 7, "name": "orders", "connectors": ["shop"]}, {}],
    "releases": [{"id": 3, "integration_id": 7, "name": "one", "default": True}],
    "tenants": [
        {"id": 20, "name": "late", "integration_id": 7},
        {"id": 10, "name": "early", "integration_id": 8, "created_date": "2026-01-01T00:00:00Z"},
    ],
}


def check_seed(seed: Any) -> None:
    with served(seed) as api:
        assert [one["id"] for one in api.json("/integrations")] == [7, 8]
        assert [one["name"] for one in api.json("/integrations/7/releases")] == ["one"]
        assert len(api.json("/integrations/8/releases")) == 1
        early, late = api.json("/tenants")
        assert (early["name"], late["name"]) == ("early", "late")
        assert early["created_date"] == "2026-01-01T00:00:00Z"


def test_a_seed_may_be_a_mapping_or_a_file(tmp_path: Path) -> None:
    """A mapping, JSON and YAML of one form give the same state, in the order of the ids."""
    check_seed(SEED)
    as_json, as_yaml = tmp_path / "seed.json", tmp_path / "seed.yaml"
    as_json.write_text(json.dumps(SEED))
    as_yaml.write_text("# YAML\n" + json.dumps(SEED))
    check_seed(as_json)
    check_seed(str(as_yaml))


def test_the_demo_has_tenants_in_all_states() -> None:
    """Some integrations, dozens of tenants: paused, archived, scheduled, connected in part."""
    emulator = Emulator("demo")
    assert len(emulator.integrations) >= 4
    assert len(emulator.tenants) >= 24
    for field in ("paused", "archived", "user_schedule"):
        assert len({getattr(one, field) for one in emulator.tenants}) == 2
    connected = {tuple(c.connected for c in one.connections) for one in emulator.tenants}
    assert len(connected) >= 3
    again = Emulator("demo").tenants
    assert [one.name for one in again] == [one.name for one in emulator.tenants]


@pytest.mark.parametrize(
    ("seed", "place"),
    [
        ([], "seed: "),
        ({"tenant": []}, "seed: 'tenant'"),
        ({"tenants": {}}, "tenants: "),
        ({"tenants": [5]}, r"tenants\[0\]: "),
        ({"integrations": [{}], "tenants": [{}, {"name": "No"}]}, r"tenants\[1\]\.name: "),
        ({"integrations": [{}], "tenants": [{"colour": 1}]}, r"tenants\[0\]\.colour: "),
        ({"integrations": [{}], "tenants": [{"release_id": 9}]}, r"tenants\[0\]\.release_id: "),
        ({"tenants": [{}]}, r"tenants\[0\]\.integration_id: "),
        ({"integrations": [{"id": 1}, {"id": 1}]}, r"integrations\[1\]\.id: "),
        ({"integrations": [{"id": 0}]}, r"integrations\[0\]\.id: "),
        ({"releases": [{"integration_id": []}]}, r"releases\[0\]\.integration_id: "),
        ({"releases": [{}]}, r"releases\[0\]\.integration_id: "),
        (
            {
                "integrations": [{}],
                "releases": [{"integration_id": 1, "config_schema": {"type": 1}}],
            },
            r"releases\[0\]\.config_schema\.type: ",
        ),
    ],
)
def test_a_bad_seed_is_refused_at_its_place(tmp_path: Path, seed: Any, place: str) -> None:
    """Section, number and field lead to what cannot be used."""
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(seed))
    with pytest.raises(ValueError, match=f"^{place}"):
        Emulator(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed.json", "{", "is not JSON"),
        ("seed.yml", "a: [", "is not YAML"),
        ("absent.json", None, "No such file.*built in is only 'demo'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    """The error has the path and the reason."""
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        Emulator(path)


def test_yaml_without_pyyaml_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names what is to be installed."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    path = tmp_path / "seed.yaml"
    path.write_text("{}")
    with pytest.raises(ValueError, match="PyYAML"):
        Emulator(path)


class SignalAfterFlush(io.StringIO):
    """Standard output that sends a signal once its line is out."""

    def flush(self) -> None:
        self.answer = httpx.get(f"{self.getvalue().split()[-1]}/v2/openapi.json")
        os.kill(os.getpid(), signal.SIGTERM)


def test_the_command_serves_until_a_signal() -> None:
    """One line with the URL, which answers; handlers of signals are as before."""
    before = signal.getsignal(signal.SIGTERM)
    output = SignalAfterFlush()
    with redirect_stdout(output):
        assert main(["--port", "0", "--api-key", "k", "--seed", "demo"]) == 0
    assert output.getvalue().startswith("Pandium emulator: http://127.0.0.1:")
    assert output.answer.status_code == 200
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("arguments", [["--seed", "/absent"], ["--port", "{taken}"]])
def test_the_command_says_what_is_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad seed and a taken port end with a line, not with a traceback."""
    with Emulator() as taken, pytest.raises(SystemExit) as ended:
        main([one.format(taken=taken.port) for one in arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m pandium.emulator: error:")


def test_the_module_is_a_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m pandium.emulator --help` shows its options."""
    monkeypatch.setattr(sys, "argv", ["emulator", "--help"])
    monkeypatch.delitem(sys.modules, "pandium.emulator.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pandium.emulator", run_name="__main__")
    assert ended.value.code == 0
    assert "--api-key" in capsys.readouterr().out


def test_the_command_ends_on_ctrl_c() -> None:
    """As a process of its own, it serves and ends with 0 on SIGINT."""
    command = [sys.executable, "-m", "pandium.emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert httpx.get(f"{url}/v2/openapi.json").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
