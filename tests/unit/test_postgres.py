"""The settings of a journal in PostgreSQL, whose password is never shown."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pandium import AsyncPandium, ConfigurationError, UnusableJournal
from pandium.postgres import PostgresJournal
from support.failures import report_with_locals
from support.servers import InThread

if TYPE_CHECKING:
    import asyncio

SECRET = "hunter2"
URL = f"postgresql://jobs:{SECRET}@db.example:6432/nightly"


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        (URL, "database 'nightly' at db.example:6432"),
        (f"host=db.example dbname=nightly password={SECRET}", "database 'nightly' at db.example"),
        ("dbname=nightly", "database 'nightly'"),
        ("service=nightly", "PostgreSQL"),
        ("host=@socket dbname=nightly", "database 'nightly' at @socket"),
        (f"postgresql://jobs:#{SECRET}?@db.example/nightly", "database 'nightly' at db.example"),
        ("postgresql://db.example/a%40b?user=a@b", "database 'a@b' at db.example"),
    ],
)
def test_a_journal_is_named_by_its_job_and_place(
    dsn: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name contains what a URL or a list of keywords says of the server, but no password."""
    for variable in ("PGHOST", "PGPORT", "PGDATABASE"):
        monkeypatch.delenv(variable, raising=False)
    journal = PostgresJournal(dsn, job="monday")
    assert journal.name == f"journal 'monday' in {place}"
    assert repr(journal) == f"PostgresJournal(<{place}>, job='monday')"


def test_a_name_includes_the_variables_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a connection string omits is read from the variables that libpq reads."""
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGPORT", "6432")
    monkeypatch.setenv("PGDATABASE", "nightly")
    journal = PostgresJournal("user=jobs", job="monday")
    assert journal.name == "journal 'monday' in database 'nightly' at db.example:6432"


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://jobs:{SECRET}@b@db.example/nightly",
        f"postgresql://jobs:a/{SECRET}@db.example/nightly",
        f"postgresql://jobs:{SECRET}/a@db.example/nightly",
        f"postgres://jobs:1/{SECRET}@db.example",
        f"postgresql://jobs:{SECRET}%ZZ@db.example/nightly",
        f"host=db.example password={SECRET} {SECRET}",
        f"host=db.example passwort={SECRET}",
        f"{SECRET}",
        f"dbname=\ud800 password={SECRET}",
        f"dbname=\0 password={SECRET}",
    ],
)
def test_an_invalid_connection_string_is_not_shown(dsn: str) -> None:
    """The error for an invalid connection string contains no part of it."""
    with pytest.raises(ConfigurationError, match="connection string, such as") as caught:
        PostgresJournal(dsn, job="monday")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("dsn", {"dsn": ""}),
        ("dsn", {"dsn": None}),
        ("job", {"job": ""}),
        ("job", {"job": "  "}),
        ("job", {"job": "a\nb"}),
        ("job", {"job": "a" * 201}),
        ("job", {"job": 7}),
        ("lease", {"lease": 0.5}),
        ("lease", {"lease": 3601}),
        ("lease", {"lease": float("nan")}),
        ("lease", {"lease": "10"}),
        ("accept_failover", {"accept_failover": 1}),
    ],
)
def test_an_invalid_setting_is_named(argument: str, options: dict[str, Any]) -> None:
    """An invalid argument raises a ConfigurationError that names it."""
    arguments = {"dsn": URL, "job": "monday", **options}
    with pytest.raises(ConfigurationError, match=rf"^{argument} must"):
        PostgresJournal(arguments.pop("dsn"), **arguments)


@pytest.mark.parametrize(
    ("dsn", "variables"),
    [
        (URL, {}),
        (f"dbname=nightly password='{SECRET}'", {}),
        ("dbname=nightly", {"PGPASSWORD": SECRET}),
    ],
)
def test_passwords_are_redacted(
    dsn: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that repeats a password is shown without it, wherever the password came from."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = PostgresJournal(dsn, job="monday").dsn.redact(f"wrong password {SECRET}!")
    assert text == "wrong password ***!"


@pytest.mark.parametrize(
    "options",
    [
        {"dsn": f"nonsense://x/{SECRET}"},
        {"dsn": f"postgresql://jobs:pass/{SECRET}@db.example/nightly"},
        {"dsn": f"host={SECRET} unknown=1"},
        {"job": ""},
        {"lease": 0},
        {"accept_failover": "no"},
    ],
)
def test_an_invalid_setting_can_be_reported_with_local_variables(options: dict[str, Any]) -> None:
    """A report with the constructor's local variables is no error and contains no password."""
    arguments = {"dsn": URL, "job": "monday", **options}
    with pytest.raises(ConfigurationError) as caught:
        PostgresJournal(**arguments)
    report = report_with_locals(caught.value)
    assert "self = <invalid PostgresJournal>" in report
    assert SECRET not in report


def test_a_journal_can_be_sent_to_another_process() -> None:
    """Pickling keeps all settings, as a scheduler needs that sends a journal to its workers."""
    journal = PostgresJournal(URL, job="monday", lease=5, accept_failover=True)
    copied = pickle.loads(pickle.dumps(journal))
    assert (copied.name, copied.job, copied.lease) == (journal.name, "monday", 5)
    assert copied.accept_failover is True
    assert copied.dsn.parameters() == journal.dsn.parameters()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg, the error says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"run pip install 'pandium\[postgres\]'"):
        PostgresJournal(URL, job="monday")


class RepeatingServer(InThread):
    """A PostgreSQL server that asks for a password and repeats it in its error."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(await read_packet(reader)) == 4:  # a request for encryption
            writer.write(b"N")
        writer.write(create_message(b"R", (3).to_bytes(4)))
        assert await reader.readexactly(1) == b"p"
        password = await read_packet(reader)
        text = b"M" + b"wrong password " + password
        writer.write(create_message(b"E", b"SFATAL\0VFATAL\0C28P01\0" + text + b"\0"))
        await writer.drain()
        await reader.read()


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)


def create_message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4) + content


@pytest.mark.anyio
@pytest.mark.parametrize("password", [SECRET, "hunter  2", "hunter\t2"])
async def test_an_error_does_not_show_a_password_that_the_server_repeats(password: str) -> None:
    """A password is redacted as it is in the settings, with white space of any kind."""
    with RepeatingServer() as server:
        dsn = f"host=127.0.0.1 port={server.port} user=jobs dbname=jobs password='{password}'"
        async with AsyncPandium("a-key-of-the-tests") as client:
            journal = PostgresJournal(dsn, job="monday")
            with pytest.raises(UnusableJournal, match=r"wrong password \*\*\*"):
                async with client.tenants.sync_all([1], mode="normal", journal=journal) as results:
                    await anext(results)
