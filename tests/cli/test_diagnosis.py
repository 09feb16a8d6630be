"""What `pandium-api doctor` finds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from pandium._cli.app import run
from pandium.emulator import Status
from support import KEY
from support.openapi import DOCUMENTS, read_document
from support.servers import Behavior, Misbehaving, Wire, answer, status

if TYPE_CHECKING:
    from pathlib import Path

    from pandium.emulator import Emulator


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def diagnose(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command and return the exit code and the rows by check."""
    capsys.readouterr()
    code = run(["doctor", "--format", "jsonl", "--attempts", "1", *arguments])
    written = capsys.readouterr()
    assert KEY not in written.out + written.err
    rows = [json.loads(line) for line in written.out.splitlines()]
    return code, {row.pop("check"): row for row in rows}


def row(detail: str, source: str | None = None, *, is_ok: bool = True) -> dict[str, Any]:
    return {"is_ok": is_ok, "detail": detail, "source": source}


@pytest.mark.usefixtures("api_environment")
def test_a_connection_in_order_ends_with_code_0(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each setting is shown with its source, and the key is not shown."""
    code, rows = diagnose(capsys)
    assert code == 0
    assert rows == {
        "base URL": row(emulator.url, "PANDIUM_BASE_URL"),
        "key": row("in an environment variable", "PANDIUM_API_KEY"),
        "host": row(emulator.url),
        "proxy": row("none", "the environment"),
        "service": row("responds, and accepts the key"),
        "clock": row("the same as on this machine, within 2 s"),
    }
    assert [request.method for request in emulator.requests] == ["GET"]


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    "url",
    [
        "https://ann:s3cr@t/1@api.example.com/a",
        "ann:s3cr@t/1@api.example.com",
        "https://api.example.com/?token=s3cret",
        "https://api.example.com/#s3cret",
    ],
)
def test_a_secret_in_the_base_url_is_not_shown(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A URL with a user name, a password or a query, which a base URL must not have, is hidden."""
    code, rows = diagnose(capsys, "--base-url", url)
    assert code == 3
    assert rows["base URL"] == row("***", "--base-url")
    assert "s3cr" not in str(rows)
    assert not rows["configuration"]["is_ok"]


@pytest.mark.usefixtures("api_environment")
def test_the_table_has_a_line_for_each_check(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default, the results are lines that are not cut off."""
    emulator.faults.add(None, Status(403))
    assert run(["doctor"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"base URL:      {emulator.url} (from PANDIUM_BASE_URL)"
    assert lines[4].startswith("service:       FAILED: GET /v2/integrations: 403 Forbidden")
    assert lines[5] == "clock:         the same as on this machine, within 2 s"


@pytest.mark.posix
def test_the_settings_of_a_profile_are_shown(
    emulator: Emulator, config_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a profile, the configuration file and the key file are shown."""
    config = config_folder / "pandium-api" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[profiles.a]\nbase_url = "{emulator.url}"\nkey_file = "a.key"\n')
    key_file = config.parent / "a.key"
    key_file.write_text(KEY)
    key_file.chmod(0o440)
    code, rows = diagnose(capsys, "--profile", "a")
    assert code == 0
    assert rows["profile"] == row("a", str(config))
    assert rows["base URL"] == row(emulator.url, "the profile a")
    assert rows["key"] == row(f"in {key_file}", "the profile a")
    assert diagnose(capsys, "--profile", "b")[0] == 3


def test_a_missing_key_ends_with_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key, nothing is sent, and the environment is still shown."""
    code, rows = diagnose(capsys)
    assert code == 3
    assert rows["environment"] == row("production", "the default")
    assert rows["configuration"] == row(
        "no API key: set PANDIUM_API_KEY or specify a file with --key-file", is_ok=False
    )


@pytest.mark.usefixtures("api_environment")
def test_a_service_that_does_not_respond_ends_with_code_4(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no connection can be made, the reason is shown, and the clock is unknown."""
    with Misbehaving(is_listening=False) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        code, rows = diagnose(capsys)
    assert code == 4
    assert rows["service"]["is_ok"] is False
    assert server.url in rows["service"]["detail"]
    assert rows["clock"] == row("unknown, because the service has not responded")


@pytest.mark.usefixtures("api_environment")
def test_the_proxy_is_shown_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy for the API is shown, but not its user name and password."""
    monkeypatch.delenv("no_proxy", raising=False)
    with Misbehaving(is_listening=False) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://ann:hidden@127.0.0.1:{server.port}")
        code, rows = diagnose(capsys)
    assert code == 4
    assert rows["proxy"] == row(server.url, "the environment")
    assert "hidden" not in str(rows)
    assert "ann" not in str(rows)


@pytest.mark.usefixtures("api_environment")
def test_certificates_that_cannot_be_loaded_are_an_invalid_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the certificates cannot be loaded, that is the configuration's failure, not the API's."""
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    code, rows = diagnose(capsys)
    assert code == 3
    assert "SSL_CERT_FILE" in rows["configuration"]["detail"]
    assert "service" not in rows


def dated(date: str | None) -> Behavior:
    headers = {} if date is None else {"Date": date}

    async def play(wire: Wire) -> None:
        await wire.send(answer(b"[]", headers=headers))

    return Behavior("a date", play, keeps=True)


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        (timedelta(days=3, hours=1), "3 d ahead of this machine"),
        (timedelta(days=-3, hours=-1), "3 d behind this machine"),
        (timedelta(hours=5, minutes=5), "5 h ahead of this machine"),
        (timedelta(minutes=-40, seconds=-10), "40 min behind this machine"),
    ],
)
def test_the_difference_of_the_clocks_is_shown(
    offset: timedelta,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Date header of the response shows how far the clock of the service is off."""
    date = format_datetime(datetime.now(UTC) + offset, usegmt=True)
    with Misbehaving(otherwise=dated(date)) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        code, rows = diagnose(capsys)
    assert (code, rows["clock"]["detail"]) == (0, shown)


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("date", "shown"),
    [
        (None, "unknown, because the response has no valid Date header"),
        ("yesterday", "unknown, because the response has no valid Date header"),
        (
            "Fri, 02 Jan 2026 00:00:00 +99999999999",
            "unknown, because the response has no valid Date header",
        ),
        ("Thu, 01 Jan 1970 00:00:00 -0000", "d behind this machine"),
    ],
)
def test_an_odd_date_is_not_an_error(
    date: str | None,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A response without a valid date, or with a date of no known time zone, is not an error."""
    with Misbehaving(otherwise=dated(date)) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        code, rows = diagnose(capsys)
    assert code == 0
    assert shown in rows["clock"]["detail"]


def test_a_small_difference_is_shown_in_seconds(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    api_environment: None,
) -> None:
    """A difference of less than two minutes is shown in seconds."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    with Misbehaving(otherwise=dated(date)) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        _, rows = diagnose(capsys)
    assert rows["clock"]["detail"].endswith(" s ahead of this machine")


# Schemas


@pytest.mark.usefixtures("api_environment")
def test_a_service_that_does_not_differ_ends_with_code_0(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's own document is fetched and compared with the client."""
    assert run(["doctor", "--schema"]) == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == "pandium-api: the service and the client do not differ\n"
    assert [request.path for request in emulator.requests] == ["/v2/openapi.json"]


def serving_document(document: object) -> Behavior:
    async def play(wire: Wire) -> None:
        await wire.send(answer(json.dumps(document).encode()))

    return Behavior("a document", play, keeps=True)


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_difference_is_one_line(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each difference is a line with its meaning, and the exit code is 1."""
    with Misbehaving(otherwise=serving_document(read_document(name))) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        assert run(["doctor", "--schema"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert run(["doctor", "--schema", "--format", "jsonl"]) == 1
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    line = (
        "GET /v2/tenants/{tenant_id}/release: the service does not document this operation;"
        " client.tenants.release may fail with 404"
    )
    assert line in lines
    assert [f"{row['where']}: {row['difference']}; {row['meaning']}" for row in rows] == lines


@pytest.mark.usefixtures("api_environment")
@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        (status("404 Not Found"), "GET /v2/openapi.json: 404 Not Found"),
        (serving_document(["text"]), "/v2/openapi.json is not an OpenAPI document"),
    ],
)
def test_a_service_without_a_document_ends_with_code_4(
    behavior: Behavior,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the document cannot be fetched or is something else, the error says so."""
    with Misbehaving(otherwise=behavior) as server:
        monkeypatch.setenv("PANDIUM_BASE_URL", server.url)
        assert run(["doctor", "--schema"]) == 4
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("api_environment")
def test_without_a_difference_there_is_still_a_header(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a difference, CSV has its header and JSON is an empty array."""
    assert run(["doctor", "--schema", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "where,difference,meaning\n"
    assert run(["doctor", "--schema", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
