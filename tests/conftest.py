"""Fixtures shared by all tests, such as the event loops, an emulator, and a client for it."""

from __future__ import annotations

import gc
import itertools
import signal
from typing import TYPE_CHECKING

import pytest

from pandium import AsyncPandium
from pandium.emulator import Emulator
from support import KEY
from support.journals import CalendarClock, trace_statements
from support.posix import ENDING_SIGNALS, IS_POSIX, POSIX_REASON
from support.postgres import PostgresProxy, Server
from support.upstreams import Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path

_databases = itertools.count(1)


# The garbage collector would otherwise scan the thousands of tests again and again.


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while the tests are collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Exclude the tests themselves from garbage collection."""
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked ``posix`` on other systems."""
    for item in items:
        if not IS_POSIX and item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason=POSIX_REASON))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PANDIUM_API_KEY", "PANDIUM_ENV", "PANDIUM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that commands use as the user's configuration folder."""
    folder = tmp_path / "config"
    folder.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    # Some tests interrupt themselves, and a shell ignores SIGINT in background jobs.
    before = {one: signal.getsignal(one) for one in ENDING_SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def signals_end_children() -> None:
    """Make sure that each of these signals can end a child process."""
    # A signal that is ignored, as SIGHUP is under nohup, would also be ignored by child processes.
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(api_key=KEY) as running:
        yield running


@pytest.fixture
def api_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment variables that make a command use the emulator."""
    monkeypatch.setenv("PANDIUM_API_KEY", KEY)
    monkeypatch.setenv("PANDIUM_BASE_URL", emulator.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[AsyncPandium]:
    async with AsyncPandium(KEY, base_url=emulator.url) as open_client:
        yield open_client


@pytest.fixture
def upstream(emulator: Emulator) -> Upstream:
    """Register an upstream system as the connector ``crm`` of tenant 1."""
    emulator.add_tenant("acme")
    registered = Upstream()
    emulator.connectors.register("crm", registered)
    return registered


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    """Return the path of a journal that does not exist yet."""
    return tmp_path / "journal"


@pytest.fixture
def calendar() -> CalendarClock:
    """Return a clock whose date is set by the test."""
    return CalendarClock()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Return a list to which each SQL statement is appended when any connection executes it."""
    traced: list[str] = []
    with trace_statements(traced.append):
        yield traced


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Return a server for the tests that do not stop it."""
    with Server() as running:
        yield running


@pytest.fixture
def postgres_dsn(postgres_server: Server) -> Iterator[str]:
    """Return the connection string of a new database."""
    name = f"test_{next(_databases)}"
    yield postgres_server.create_database(name)
    # Databases that are left for the end are written to the disk, and deleting them takes a minute.
    postgres_server.drop_database(name)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Return a server that the test may stop."""
    with Server() as running:
        yield running


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[PostgresProxy]:
    """Return a proxy for the server, which can lose connections."""
    with PostgresProxy(postgres_server.port) as running:
        yield running


@pytest.fixture
def proxy_dsn(postgres_server: Server, postgres_dsn: str, proxy: PostgresProxy) -> str:
    """Return the connection string of a new database, through the proxy."""
    return postgres_dsn.replace(f":{postgres_server.port}/", f":{proxy.port}/")
