"""
pytest fixtures that provide an emulator and a client, and a marker that configures them.

pytest imports this module in every project that has pandium installed. It is therefore not part of
the package, and it defers its own imports until a test uses a fixture.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pandium import AsyncPandium
    from pandium.emulator import Clock, Emulator
    from pandium.emulator.network.http_server import ServerThread

    StartThread: TypeAlias = Callable[[], ServerThread]

_MARKER = (
    "pandium(seed=None, clock='real', api_key=None): configure the test's emulator: its initial "
    "data, its clock ('real', 'manual' or a speed factor) and the only API key that it accepts."
)
_ARGUMENTS = ("seed", "clock", "api_key")
_ANY_KEY = "a-key-for-tests"
_LOOP_SCOPES: tuple[Any, ...] = ("function", "class", "module", "package", "session")
_ASYNCIO_FIXTURES = "pandium_pytest_asyncio"
_NO_LOOP = (
    "pandium_client is for async tests that are run by anyio or by pytest-asyncio 0.24 or newer; in"
    " other tests, use pandium_emulator and create the client yourself"
)
_TWO_PLUGINS = (
    "pytest-asyncio runs this test, but anyio runs its fixtures: set asyncio_mode = strict, or"
    " remove the anyio marker"
)
_BLOCKED = (
    "pandium_emulator listens on 127.0.0.1, but pytest-socket blocks all sockets: mark the test"
    " with pytest.mark.enable_socket, or allow this host with --allow-hosts=127.0.0.1"
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and, if pytest-asyncio is installed, the fixtures for its event loops."""
    config.addinivalue_line("markers", _MARKER)
    if config.pluginmanager.has_plugin("asyncio"):
        with suppress(TypeError):  # versions before 0.24 do not support loop scopes
            config.pluginmanager.register(_asyncio_fixtures(), _ASYNCIO_FIXTURES)


@pytest.fixture(scope="session")
def _pandium_server() -> Iterator[StartThread]:
    try:
        from pandium.emulator.network.http_server import ServerThread
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: run pip install 'pandium[emulator]'", pytrace=False)
    with ExitStack() as stack:
        # Do not start the thread here. pytest would repeat an error of this fixture in all tests,
        # although sockets may be blocked only in the first one.
        yield cache(lambda: stack.enter_context(ServerThread()))


@pytest.fixture
def pandium_emulator(
    request: pytest.FixtureRequest, _pandium_server: StartThread
) -> Iterator[Emulator]:
    """
    Run a separate emulator for each test, on its own port.

    `AsyncPandium()` connects to it, both in the test and in the code under test. Configure it with
    `pytest.mark.pandium`: `seed` and `api_key` are passed to the emulator, and `clock` is "real",
    "manual" or a speed factor. The clock applies to the emulator and to clients created during the
    test.
    """
    from pandium._clock import use_clock

    options = _options_of(request.node)
    emulator = _emulator_of(options)
    with ExitStack() as stack:
        # Each test uses a new port, so that a late request from the previous test cannot reach this
        # emulator.
        _start(emulator, _pandium_server)
        stack.callback(emulator.stop)
        stack.enter_context(use_clock(emulator.clock))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.delenv("PANDIUM_ENV", raising=False)
        patch.setenv("PANDIUM_BASE_URL", emulator.url)
        patch.setenv("PANDIUM_API_KEY", options.get("api_key") or _ANY_KEY)
        for name in ("NO_PROXY", "no_proxy"):  # a proxy could not reach the emulator
            patch.setenv(name, "127.0.0.1", prepend=",")
        yield emulator


@pytest.fixture
def pandium_client(request: pytest.FixtureRequest) -> AsyncPandium:
    """
    Open a client for the emulator in the test's event loop and close it there after the test.

    Works only in async tests that are run by pytest-asyncio or the anyio plugin.
    """
    client: AsyncPandium = request.getfixturevalue(_fixture_for(request))
    return client


def _start(emulator: Emulator, start_thread: StartThread) -> None:
    @contextmanager
    def shared_thread() -> Iterator[ServerThread]:
        yield start_thread()

    try:
        emulator._start_in(shared_thread())  # noqa: SLF001 - same distribution
    except Exception:
        # The class of the error depends on the user's warning filters.
        if socket.socket.__module__ != "pytest_socket":
            raise
        raise pytest.fail.Exception(_BLOCKED, pytrace=False) from None


def _fixture_for(request: pytest.FixtureRequest) -> str:
    """Return the name of the fixture for the plugin that runs a test."""
    # An async fixture belongs to a single plugin, so the test determines which fixture to use.
    scope = _loop_scope_of(request.node)
    is_for_anyio = "anyio_backend" in request.fixturenames
    if scope is None and is_for_anyio:
        return "_pandium_client_anyio"
    if scope is None:
        pytest.fail(_NO_LOOP, pytrace=False)
    if is_for_anyio:  # in auto mode, the two plugins use different event loops
        pytest.fail(_TWO_PLUGINS, pytrace=False)
    return f"_pandium_client_{scope}"


def _opener() -> Callable[..., AsyncIterator[AsyncPandium]]:
    async def open_client(pandium_emulator: Emulator) -> AsyncIterator[AsyncPandium]:
        from pandium import AsyncPandium

        async with AsyncPandium(base_url=pandium_emulator.url) as client:
            yield client

    return open_client


_pandium_client_anyio = pytest.fixture(name="_pandium_client_anyio")(_opener())


def _asyncio_fixtures() -> ModuleType:
    """Create a plugin module with one pytest-asyncio fixture per loop scope."""
    from pytest_asyncio import fixture

    module = ModuleType("pandium_pytest_asyncio")
    for scope in _LOOP_SCOPES:
        name = f"_pandium_client_{scope}"
        setattr(module, name, fixture(_opener(), loop_scope=scope, name=name))
    return module


def _loop_scope_of(item: pytest.Item) -> str | None:
    """Return the scope of a test's pytest-asyncio loop, or None if another plugin runs the test."""
    if not item.config.pluginmanager.has_plugin(_ASYNCIO_FIXTURES):
        return None
    from pytest_asyncio import is_async_test

    if not is_async_test(item):
        return None
    marker = item.get_closest_marker("asyncio")
    given = {} if marker is None else marker.kwargs
    scope: str | None = given.get("loop_scope") or given.get("scope")
    try:
        return scope or str(item.config.getini("asyncio_default_test_loop_scope"))
    except ValueError:  # pragma: no cover - pytest-asyncio before 0.26
        return "function"


def _options_of(item: pytest.Item) -> dict[str, Any]:
    """Merge the markers of a test, its class and its module. The closest marker wins."""
    options: dict[str, Any] = {}
    for mark in item.iter_markers("pandium"):
        if mark.args:
            raise _refusal(
                f"pass {', '.join(_ARGUMENTS)} as keyword arguments, not {mark.args[0]!r}"
            )
        for name in mark.kwargs:
            if name not in _ARGUMENTS:
                raise _refusal(f"{name}: must be one of {', '.join(_ARGUMENTS)}")
        options = {**mark.kwargs, **options}
    return options


def _emulator_of(options: dict[str, Any]) -> Emulator:
    from pandium.emulator import Emulator

    key = options.get("api_key")
    if key is not None and not (isinstance(key, str) and key.strip()):
        raise _refusal(f"api_key: must be a non-empty string, not {key!r}")
    clock = _clock_of(options.get("clock", "real"))
    seed = options.get("seed")
    try:
        return Emulator(seed, key, clock=clock)
    except TypeError:
        raise _refusal(f"seed: must be 'demo', a mapping or a path, not {seed!r}") from None
    except ValueError as error:
        raise _refusal(str(error)) from None


def _clock_of(wanted: object) -> Clock:
    from pandium.emulator import Clock, ManualClock

    if wanted == "manual":
        return ManualClock()
    try:
        return Clock(1.0 if wanted == "real" else wanted)  # type: ignore[arg-type]  # Clock validates it
    except ValueError:
        fault = f"clock: must be 'real', 'manual' or a speed factor above 0, not {wanted!r}"
        raise _refusal(fault) from None


def _refusal(fault: str) -> BaseException:
    return pytest.fail.Exception(f"pytest.mark.pandium: {fault}", pytrace=False)
