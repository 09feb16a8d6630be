"""The pytest fixtures, in this run and in separate projects in child processes."""

from __future__ import annotations

import os
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import anyio
import pytest
import pytest_asyncio
from packaging.version import Version

from pandium import AsyncPandium, AuthenticationError, RunResult

if TYPE_CHECKING:
    from pandium.emulator import Emulator

pytest_plugins = ["pytester"]

# pytest-asyncio 0.24 does not close all of its event loops. Their sockets are of family 1.
CONFIGURATION = """
    [pytest]
    addopts = --strict-markers --strict-config -p no:cacheprovider -p no:randomly
        -p no:hypothesispytest -p no:schemathesis
    filterwarnings =
        error
        ignore:Exception ignored in. <socket.socket fd=-1, family=1,
    asyncio_mode = {mode}
    asyncio_default_fixture_loop_scope = function
"""


def project(pytester: pytest.Pytester, text: str, mode: str = "strict") -> pytest.Pytester:
    pytester.makeini(CONFIGURATION.format(mode=mode))
    pytester.makepyfile(dedent(text))
    return pytester


async def code_under_test(tenant_id: int) -> RunResult:
    with anyio.fail_after(60):
        async with AsyncPandium() as client:
            trigger = await client.tenants.sync(tenant_id, mode="normal")
            [done] = await client.runs.wait_all([trigger], timeout=10_000_000)
    assert done.error is None
    return done


@pytest.mark.anyio
async def test_the_client_reaches_the_emulator(
    pandium_emulator: Emulator, pandium_client: AsyncPandium
) -> None:
    """On asyncio and trio, the fixture's client is connected to the fixture's emulator."""
    pandium_emulator.add_tenant("acme")
    names = [tenant.name async for tenant in pandium_client.tenants.list()]
    assert names == ["acme"]
    assert [request.path for request in pandium_emulator.requests] == ["/v2/tenants"]


@pytest.mark.asyncio
async def test_the_client_is_there_for_pytest_asyncio(
    pandium_emulator: Emulator, pandium_client: AsyncPandium
) -> None:
    """The client works in a test that pytest-asyncio runs."""
    await pandium_client.integrations.get(1)
    assert len(pandium_emulator.requests) == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("pandium_emulator")
async def test_a_client_without_arguments_reaches_the_emulator() -> None:
    """The environment variables connect a client without arguments to the emulator."""
    assert os.environ["PANDIUM_BASE_URL"].startswith("http://127.0.0.1:")
    async with AsyncPandium() as client:
        assert (await client.integrations.get(1)).id == 1


@pytest.mark.anyio
@pytest.mark.pandium(clock="manual")
async def test_a_manual_clock_applies_to_the_code_under_test(pandium_emulator: Emulator) -> None:
    """A client that the code under test creates sleeps on the emulator's clock."""
    pandium_emulator.runs.script(appears_after=3600, phases=[("Succeeded", 0)])
    tenant = pandium_emulator.add_tenant()
    async with pandium_emulator.clock.autojump():
        done = await code_under_test(tenant.id)
    assert done.elapsed == pandium_emulator.clock.now()
    assert 3600 <= pandium_emulator.clock.now() < 3620


@pytest.mark.anyio
@pytest.mark.pandium(clock=1_000_000)
async def test_a_faster_clock_applies_to_the_code_under_test(pandium_emulator: Emulator) -> None:
    """With a speed factor, both the runs and the client's sleeps take less real time."""
    pandium_emulator.runs.script(appears_after=3600, phases=[("Succeeded", 0)])
    tenant = pandium_emulator.add_tenant()
    # A poll takes a few milliseconds, each of which is 1,000 seconds here.
    assert (await code_under_test(tenant.id)).elapsed > 60


@pytest.mark.anyio
@pytest.mark.pandium(seed="demo", api_key="one", clock="manual")
class TestMarkers:
    """The markers of a class and a test are merged."""

    @pytest.mark.pandium(api_key="two")
    async def test_the_closest_wins(
        self, pandium_emulator: Emulator, pandium_client: AsyncPandium
    ) -> None:
        """Each argument comes from the closest marker that has it."""
        assert len(pandium_emulator.tenants) == 40
        assert pandium_emulator.clock.now() == 0
        await pandium_client.integrations.get(1)
        async with AsyncPandium("one") as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.integrations.get(1)


STRICT = """
    import os

    import anyio
    import httpx
    import pytest
    import pytest_asyncio

    from pandium import AsyncPandium

    fixtures = pytest.mark.usefixtures("pandium_emulator")
    urls = []


    async def use(client):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(client.integrations.get, 1)


    @pytest.mark.anyio
    async def test_anyio(pandium_client, anyio_backend_name):
        await use(pandium_client)


    @pytest.mark.asyncio
    async def test_asyncio(pandium_client):
        await use(pandium_client)


    @pytest.mark.asyncio(loop_scope="module")
    async def test_asyncio_in_a_longer_loop(pandium_client):
        await use(pandium_client)


    @pytest.mark.asyncio(loop_scope="session")
    async def test_asyncio_in_the_longest_loop(pandium_client):
        await use(pandium_client)


    @pytest.fixture
    async def service(pandium_client):
        await use(pandium_client)
        yield pandium_client
        await use(pandium_client)


    @pytest.mark.anyio
    async def test_anyio_fixture(service):
        await use(service)


    @pytest_asyncio.fixture
    async def asyncio_service(pandium_client):
        await use(pandium_client)
        yield pandium_client
        await use(pandium_client)


    @pytest.mark.asyncio
    async def test_asyncio_fixture(asyncio_service):
        await use(asyncio_service)


    def test_sync(pandium_emulator):
        urls.append(os.environ["PANDIUM_BASE_URL"])
        pandium_emulator.add_tenant("left-behind")

        async def main():
            async with AsyncPandium() as client:
                await use(client)

        for backend in ("asyncio", "trio"):
            anyio.run(main, backend=backend)


    def test_late_requests_reach_nobody(pandium_emulator):
        assert not pandium_emulator.tenants
        with pytest.raises(httpx.ConnectError):
            httpx.get(urls[0] + "/v2/integrations", headers={"x-api-key": "k"})
        assert not pandium_emulator.requests


    def test_the_environment_is_as_before():
        assert not [name for name in os.environ if name.startswith("PANDIUM")]
        assert os.environ.get("NO_PROXY") == "elsewhere.example"
"""


def test_it_works_beside_pytest_asyncio_in_strict_mode(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Clients work and are closed in each kind of test and fixture, even if a proxy is configured.

    Every warning is an error, including those about unclosed clients and sockets.
    """
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "elsewhere.example")
    monkeypatch.delenv("no_proxy", raising=False)
    result = project(pytester, STRICT).runpytest_subprocess()
    result.assert_outcomes(passed=11)


def test_it_works_beside_pytest_asyncio_in_auto_mode(pytester: pytest.Pytester) -> None:
    """In auto mode, clients work in tests and fixtures without a marker."""
    text = """
        import pytest


        @pytest.fixture
        async def service(pandium_client):
            await pandium_client.integrations.get(1)
            yield pandium_client
            await pandium_client.integrations.get(1)


        async def test_auto(pandium_client, pandium_emulator):
            await pandium_client.integrations.get(1)
            assert len(pandium_emulator.requests) == 1


        async def test_auto_fixture(service):
            await service.integrations.get(1)
    """
    result = project(pytester, text, mode="auto").runpytest_subprocess()
    result.assert_outcomes(passed=2)


def test_it_works_without_pytest_asyncio(pytester: pytest.Pytester) -> None:
    """Clients work in tests of the anyio plugin if pytest-asyncio is not installed."""
    text = """
        import pytest


        @pytest.mark.anyio
        async def test_anyio(pandium_client):
            await pandium_client.integrations.get(1)
    """
    pytester.makeini("[pytest]")
    pytester.makepyfile(dedent(text))
    # These two warn if they are imported again in the same process.
    others = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")
    options = ("-p", "no:asyncio", "-W", "error", "--strict-markers")
    pytester.runpytest_inprocess(*options, *others).assert_outcomes(passed=2)


def test_parallel_processes_are_independent(pytester: pytest.Pytester) -> None:
    """With pytest-xdist, each process has its own server, and each test its own state."""
    text = """
        import os
        from pathlib import Path

        import pytest


        @pytest.mark.anyio
        @pytest.mark.parametrize("number", range(20))
        async def test_it(pandium_client, pandium_emulator, number):
            Path(os.environ["PYTEST_XDIST_WORKER"]).touch()
            pandium_emulator.add_tenant()
            assert len(await pandium_client.tenants.list().to_list()) == 1
            assert len(pandium_emulator.requests) == 1
    """
    result = project(pytester, text).runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=40)
    assert {one.name for one in pytester.path.glob("gw*")} == {"gw0", "gw1"}


def test_requests_that_hang_do_not_reach_the_next_test(pytester: pytest.Pytester) -> None:
    """Requests that are in progress when a test ends do not affect the next test."""
    text = """
        import threading

        import httpx

        begun, go_on, errors = threading.Event(), threading.Event(), []


        def call(url):
            body = {"method": "GET", "target_url": "https://x.example/"}
            with httpx.Client(base_url=url, headers={"x-api-key": "k"}, timeout=60) as http:
                for _ in range(2):
                    try:
                        http.post("/v2/tenants/1/connectors/crm/call", json=body)
                    except httpx.TransportError as error:
                        errors.append(type(error))


        caller = threading.Thread(target=call)


        def hang(request):
            begun.set()
            go_on.wait()


        def test_hangs(pandium_emulator):
            pandium_emulator.add_tenant()
            pandium_emulator.connectors.register("crm", hang)
            caller._args = (pandium_emulator.url,)
            caller.start()
            begun.wait()


        def test_next(pandium_emulator):
            pandium_emulator.add_tenant()
            go_on.set()
            caller.join()
            assert not pandium_emulator.requests
            assert len(errors) == 2
            assert errors[1] is httpx.ConnectError
    """
    project(pytester, text).runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("options", "header"),
    [
        (["-p", "randomly"], "Using --randomly-seed=*"),
        (["--random-order-bucket=global"], "Using --random-order-bucket=global"),
    ],
    ids=["pytest-randomly", "pytest-random-order"],
)
def test_the_order_of_the_tests_does_not_matter(
    pytester: pytest.Pytester, options: list[str], header: str
) -> None:
    """Each test has its own emulator, whatever the order. One thread serves all emulators."""
    text = """
        import threading

        import pytest


        @pytest.mark.parametrize("number", range(10))
        class TestOrder:
            @pytest.mark.anyio
            async def test_anyio(self, pandium_client, pandium_emulator, number):
                pandium_emulator.add_tenant()
                assert len(await pandium_client.tenants.list().to_list()) == 1

            @pytest.mark.asyncio
            async def test_asyncio(self, pandium_client, pandium_emulator, number):
                assert await pandium_client.tenants.list().to_list() == []

            def test_sync(self, pandium_emulator, number):
                assert not pandium_emulator.requests
                threads = [thread.name for thread in threading.enumerate()]
                assert threads.count("pandium-emulator") == 1
    """
    result = project(pytester, text).runpytest_subprocess(*options)
    result.assert_outcomes(passed=40)
    result.stdout.fnmatch_lines([header])


@pytest.mark.parametrize(
    ("scope", "options"),
    [
        ("(loop_scope='session')", ()),
        pytest.param(
            *("", ["--override-ini=asyncio_default_test_loop_scope=session"]),
            marks=pytest.mark.skipif(
                Version(pytest_asyncio.__version__) < Version("0.26"),
                reason="pytest-asyncio 0.26 added this option",
            ),
        ),
    ],
    ids=["marker", "option"],
)
def test_it_works_in_an_event_loop_of_the_session(
    pytester: pytest.Pytester, scope: str, options: list[str]
) -> None:
    """If all tests share one event loop, each still gets a client that is closed after the test."""
    text = """
        import asyncio

        import pytest
        import pytest_asyncio

        clients, loops = [], set()


        @pytest_asyncio.fixture(scope="session", loop_scope="session")
        async def shared_loop():
            yield asyncio.get_running_loop()


        @pytest.mark.asyncio{scope}
        @pytest.mark.parametrize("number", range(3))
        async def test_it(pandium_client, shared_loop, number):
            await pandium_client.integrations.get(1)
            assert asyncio.get_running_loop() is shared_loop
            loops.add(shared_loop)
            assert len(loops) == 1
            for client in clients:
                with pytest.raises(Exception, match="closed"):
                    await client.integrations.get(1)
            clients.append(pandium_client)
    """
    result = project(pytester, text.replace("{scope}", scope)).runpytest_subprocess(*options)
    result.assert_outcomes(passed=3)


def test_tests_of_anyio_are_refused_in_auto_mode(pytester: pytest.Pytester) -> None:
    """In auto mode, pytest-asyncio also runs the tests of anyio, which is an error."""
    text = """
        import pytest


        @pytest.mark.anyio
        async def test_anyio(pandium_client):
            await pandium_client.integrations.get(1)
    """
    result = project(pytester, text, mode="auto").runpytest_subprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*: set asyncio_mode = strict, or remove the anyio marker"] * 2)


SOCKETS = """
    import pytest


    def test_blocked(pandium_emulator):
        pass


    @pytest.mark.enable_socket
    def test_enabled(pandium_emulator):
        pass


    @pytest.mark.anyio
    async def test_client(pandium_client):
        await pandium_client.integrations.get(1)
"""


def test_blocked_sockets_are_reported(pytester: pytest.Pytester) -> None:
    """If pytest-socket blocks sockets, the error explains it, and other tests are not affected."""
    project(pytester, SOCKETS)
    result = pytester.runpytest_subprocess("--disable-socket")
    result.assert_outcomes(passed=1, errors=3)
    result.stdout.fnmatch_lines(["*pytest-socket blocks all sockets: mark the test with*"] * 3)


NO_FILES = """
    import os
    import resource

    import pytest


    @pytest.fixture
    def no_files():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


    def test_first(pandium_emulator):
        pass


    def test_without_files(no_files, pandium_emulator):
        pass


    def test_last(pandium_emulator):
        pass
"""


@pytest.mark.posix
def test_an_error_of_the_system_is_shown(pytester: pytest.Pytester) -> None:
    """If the system refuses a socket, the test fails with the system's error, and others pass."""
    result = project(pytester, NO_FILES).runpytest_subprocess()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*Too many open files*"])


def test_only_the_loopback_host_has_to_be_allowed(pytester: pytest.Pytester) -> None:
    """If pytest-socket allows connections to 127.0.0.1 alone, emulator and client work."""
    result = project(pytester, SOCKETS).runpytest_subprocess("--allow-hosts=127.0.0.1")
    result.assert_outcomes(passed=4)


def test_bad_arguments_of_the_marker_are_named(pytester: pytest.Pytester) -> None:
    """An invalid argument of the marker is an error that names it and the valid values."""
    text = """
        import pytest

        marks = [
            pytest.mark.pandium("demo"),
            pytest.mark.pandium(sead="demo"),
            pytest.mark.pandium(seed="nowhere.json"),
            pytest.mark.pandium(seed=5),
            pytest.mark.pandium(clock="fast"),
            pytest.mark.pandium(clock=0),
            pytest.mark.pandium(api_key=" "),
            pytest.mark.pandium(api_key=1),
        ]


        @pytest.mark.parametrize("one", [pytest.param(1, marks=mark) for mark in marks])
        def test_it(pandium_emulator, one):
            pass


        def test_sync(pandium_client):
            pass
    """
    result = project(pytester, text).runpytest_inprocess()
    result.assert_outcomes(errors=9)
    result.stdout.fnmatch_lines(
        [
            "pytest.mark.pandium: pass seed, clock, api_key as keyword arguments, not 'demo'",
            "pytest.mark.pandium: sead: must be one of seed, clock, api_key",
            "pytest.mark.pandium: cannot read 'nowhere.json': *",
            "pytest.mark.pandium: seed: must be 'demo', a mapping or a path, not 5",
            "pytest.mark.pandium: clock: must be 'real', 'manual' or a speed factor *, not 'fast'",
            "pytest.mark.pandium: clock: must be 'real', 'manual' or a speed factor above 0, not 0",
            "pytest.mark.pandium: api_key: must be a non-empty string, not ' '",
            "pytest.mark.pandium: api_key: must be a non-empty string, not 1",
            "pandium_client is for async tests *",
        ]
    )


def test_without_the_extra_the_error_says_what_to_install(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the libraries of the emulator are missing, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("pandium.emulator")]:
        monkeypatch.delitem(sys.modules, name)
    text = "def test_it(pandium_emulator): pass"
    result = project(pytester, text).runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fastapi*: run pip install 'pandium?emulator?'"])


IMPORTED = """
    import sys

    import pytest


    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(item):
        assert "pandium" not in sys.modules
        yield
        assert ("pandium" in sys.modules) is ("pandium_emulator" in item.fixturenames)


    def pytest_collection_finish():
        assert "pandium" not in sys.modules
"""


def test_the_project_is_imported_for_the_first_test_that_uses_it(pytester: pytest.Pytester) -> None:
    """Neither collection nor other tests import the package, only the first use of a fixture."""
    text = """
        import pytest


        def test_other():
            pass


        @pytest.mark.anyio
        async def test_other_anyio():
            pass


        @pytest.mark.asyncio
        async def test_other_asyncio():
            pass


        @pytest.mark.pandium(clock="manual")
        def test_emulator(pandium_emulator):
            pass
    """
    pytester.makeconftest(dedent(IMPORTED))
    result = project(pytester, text).runpytest_subprocess("-p", "no:schemathesis")
    result.assert_outcomes(passed=5)


def test_the_plugin_imports_nothing_in_other_projects(pytester: pytest.Pytester) -> None:
    """In a project that does not use the fixtures, only the module of the plugin is imported."""
    text = """
        import sys


        def test_it(pytestconfig):
            found = {name.split(".")[0] for name in sys.modules}
            assert "pandium_pytest" in found
            assert not found & {"pandium", "httpx", "fastapi", "uvicorn", "anyio", "attr"}
    """
    project(pytester, text)
    others = (
        *("anyio", "asyncio", "httpx", "respx", "xdist", "hypothesispytest", "schemathesis"),
        *("randomly", "random_order", "socket", "subtests"),
    )
    switched_off = [option for name in others for option in ("-p", f"no:{name}")]
    pytester.makeini("[pytest]")
    pytester.runpytest_subprocess(*switched_off).assert_outcomes(passed=1)
