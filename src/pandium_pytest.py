"""
Give tests an emulator and a client of it: pytest's fixtures, and a marker that configures them.

pytest imports this in every project that has pandium installed. So it stands beside the package,
whose `__init__` imports the whole client, and imports what a test needs when one needs it.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pandium import AsyncPandium
    from pandium.emulator import Clock, Emulator
    from pandium.emulator._server import ServerThread

_MARKER = (
    "pandium(seed=None, clock='real', api_key=None): what the emulator of a test holds, how its "
    "time goes ('real', 'manual', or how many times faster), and its only right key."
)
_ARGUMENTS = ("seed", "clock", "api_key")
_ANY_KEY = "a-key-for-tests"
_LOOP_SCOPES: tuple[Any, ...] = ("function", "class", "module", "package", "session")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what pytest-asyncio needs where it is there."""
    config.addinivalue_line("markers", _MARKER)
    if config.pluginmanager.has_plugin("asyncio"):
        with suppress(TypeError):  # of versions before 0.24, which know no scopes of loops
            config.pluginmanager.register(_asyncio_fixtures(), "pandium_pytest_asyncio")


@pytest.fixture(scope="session")
def _pandium_server() -> Iterator[ServerThread]:
    try:
        from pandium.emulator._server import ServerThread
    except ModuleNotFoundError as error:
        pytest.fail(f"{error}: try pip install 'pandium[emulator]'", pytrace=False)
    with ServerThread() as thread:
        yield thread


@pytest.fixture
def pandium_emulator(
    request: pytest.FixtureRequest, _pandium_server: ServerThread
) -> Iterator[Emulator]:
    """
    Serve an emulator of this test's own, at an address of its own.

    `AsyncPandium()` reaches it, in the test and in what it tests. `pytest.mark.pandium` configures
    it: `seed` and `api_key` are the emulator's; `clock` is "real", "manual", or how many times
    faster time goes, for the emulator and for clients that are made during the test.
    """
    from pandium._clock import use_clock

    options = _options_of(request.node)
    emulator = _emulator_of(options)
    with ExitStack() as stack:
        # A port of its own, too: a late request of the test before finds nobody there.
        emulator._start_in(nullcontext(_pandium_server))  # noqa: SLF001 - it is of this distribution
        stack.callback(emulator.stop)
        stack.enter_context(use_clock(emulator.clock))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.delenv("PANDIUM_ENV", raising=False)
        patch.setenv("PANDIUM_BASE_URL", emulator.url)
        patch.setenv("PANDIUM_API_KEY", options.get("api_key") or _ANY_KEY)
        for name in ("NO_PROXY", "no_proxy"):  # a proxy could not reach it
            patch.setenv(name, "127.0.0.1", prepend=",")
        yield emulator


@pytest.fixture
def pandium_client(request: pytest.FixtureRequest) -> AsyncPandium:
    """
    Open a client of the emulator in the test's event loop, and close it there after the test.

    It is for async tests that pytest-asyncio or anyio's plugin runs.
    """
    # An async fixture belongs to one plugin, and only the test says which one that must be.
    scope = _loop_scope_of(request.node)
    if scope is not None:
        name = f"_pandium_client_{scope}"
    elif "anyio_backend" in request.fixturenames:
        name = "_pandium_client_anyio"
    else:
        pytest.fail(
            "pandium_client is for async tests that pytest-asyncio or anyio runs; elsewhere use"
            " pandium_emulator, and AsyncPandium() by hand",
            pytrace=False,
        )
    client: AsyncPandium = request.getfixturevalue(name)
    return client


def _opener() -> Callable[..., AsyncIterator[AsyncPandium]]:
    async def open_client(pandium_emulator: Emulator) -> AsyncIterator[AsyncPandium]:
        from pandium import AsyncPandium

        async with AsyncPandium(base_url=pandium_emulator.url) as client:
            yield client

    return open_client


_pandium_client_anyio = pytest.fixture(name="_pandium_client_anyio")(_opener())


def _asyncio_fixtures() -> ModuleType:
    """Make what pytest-asyncio takes for its own, one fixture for each scope of its loops."""
    from pytest_asyncio import fixture

    module = ModuleType("pandium_pytest_asyncio")
    for scope in _LOOP_SCOPES:
        name = f"_pandium_client_{scope}"
        setattr(module, name, fixture(_opener(), loop_scope=scope, name=name))
    return module


def _loop_scope_of(item: pytest.Item) -> str | None:
    """Tell in which of pytest-asyncio's loops a test runs, if it does."""
    if not item.config.pluginmanager.has_plugin("asyncio"):
        return None
    from pytest_asyncio import is_async_test

    if not is_async_test(item):
        return None
    marker = item.get_closest_marker("asyncio")
    given = {} if marker is None else marker.kwargs
    scope: str | None = given.get("loop_scope") or given.get("scope")
    try:
        return scope or str(item.config.getini("asyncio_default_test_loop_scope"))
    except ValueError:  # pragma: no cover - pytest-asyncio before 0.26, which our tests exclude
        return "function"


def _options_of(item: pytest.Item) -> dict[str, Any]:
    """Merge the markers of a test, its class and its module; the closest one wins."""
    options: dict[str, Any] = {}
    for mark in item.iter_markers("pandium"):
        if mark.args:
            raise _refusal(f"takes {', '.join(_ARGUMENTS)} by name, not {mark.args[0]!r}")
        for name in mark.kwargs:
            if name not in _ARGUMENTS:
                raise _refusal(f"{name}: is none of {', '.join(_ARGUMENTS)}")
        options = {**mark.kwargs, **options}
    return options


def _emulator_of(options: dict[str, Any]) -> Emulator:
    from pandium.emulator import Emulator

    key = options.get("api_key")
    if key is not None and not (isinstance(key, str) and key.strip()):
        raise _refusal(f"api_key: must be some text, not {key!r}")
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
        return Clock(1.0 if wanted == "real" else wanted)  # type: ignore[arg-type]  # it checks
    except ValueError:
        fault = f"clock: must be 'real', 'manual' or a speed above 0, not {wanted!r}"
        raise _refusal(fault) from None


def _refusal(fault: str) -> BaseException:
    return pytest.fail.Exception(f"pytest.mark.pandium: {fault}", pytrace=False)
