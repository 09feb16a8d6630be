"""Faults that happen at the same time, in random combinations."""

from __future__ import annotations

import ast
import os
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pandium import AsyncPandium, PandiumError, Polling, Retry
from pandium._bulk.journal import LEASE
from pandium._clock import RealClock, use_clock
from pandium.emulator import Emulator
from support import KEY
from support.faults import COMBINABLE, FAULTS, TENANTS, InjectedError, Scenario
from support.journals import by_tenant

if TYPE_CHECKING:
    from pandium import RunResult

pytestmark = pytest.mark.anyio

ROUNDS = 300 if os.environ.get("PANDIUM_LONG") else 12
SEED = int(os.environ.get("PANDIUM_SEED") or random.randrange(10**6))
TESTS = Path(__file__).parents[1]
FAST = Polling(first=0.02, minimum=0.02, maximum=0.05, rate=500)
# The errors that an iteration or a result may have: the client's, the user's, and the error for a
# cancellation of another task.
EXPECTED = (PandiumError, InjectedError, RuntimeError)


@pytest.mark.posix
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_tried_by_tests_of_its_own(name: str) -> None:
    """Each fault that the client must withstand is tried by the tests that the table lists."""
    for file, functions in FAULTS[name].tests.items():
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        defined = {getattr(node, "name", "") for node in tree.body}
        assert set(functions.split()) <= defined


class LaterClock(RealClock):
    """A clock according to which all leases of an earlier run have expired."""

    def wall(self) -> datetime:
        return super().wall() + timedelta(seconds=1.5 * LEASE)


class Program:
    """A program that lists tenants, syncs them, and is run again after an error."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.results: list[RunResult] = []
        self.errors: list[BaseException] = []

    async def run(self) -> None:
        """Run the program once, in the middle of all faults."""
        scenario = self.scenario
        async with scenario.engine() as http_client:
            client = AsyncPandium(
                KEY,
                base_url=scenario.emulator.url,
                retry=Retry(attempts=3, initial=0.01),
                timeout=5.0,
                http_client=http_client,
            )
            async with client:
                await self.list_tenants(client)
                await self.sync_tenants(client)

    async def list_tenants(self, client: AsyncPandium) -> None:
        """Check that each tenant is listed once, or that the listing raises an error."""
        found: list[int] = []
        page_size = self.scenario.chance.randint(2, 10)
        confirm_end = self.scenario.confirm_end
        try:
            async for tenant in client.tenants.list(page_size=page_size, confirm_end=confirm_end):
                found.append(tenant.id)
        except PandiumError as error:
            self.errors.append(error)
        else:
            assert set(found) >= set(TENANTS)
        assert len(found) == len(set(found))

    async def sync_tenants(self, client: AsyncPandium) -> None:
        """Check that each tenant has one result, or that the iteration raises an error."""
        scenario = self.scenario
        try:
            async with client.tenants.sync_all(
                scenario.source(),
                mode="normal",
                journal=scenario.journal,
                max_concurrency=3,
                poll=FAST,
                timeout=10.0,
                **scenario.callbacks,
            ) as results:
                await scenario.read(results, self.results)
        except EXPECTED as error:
            self.errors.append(error)
        else:
            assert set(by_tenant(self.results)) == set(TENANTS)

    async def resume(self) -> None:
        """Check that the job can be completed once there are no more faults."""
        self.scenario.emulator.faults.clear()
        self.scenario.emulator.drift.clear()
        with use_clock(LaterClock()):
            client = AsyncPandium(KEY, base_url=self.scenario.emulator.url)
        async with client:
            sync = client.tenants.sync_all(
                TENANTS, mode="normal", journal=self.scenario.journal, poll=FAST
            )
            async with sync as results:
                found = by_tenant([result async for result in results])
        assert set(found) == set(TENANTS)
        first = by_tenant(self.results)
        for tenant_id, result in found.items():
            self.check_result(result)
            if tenant_id in first and first[tenant_id].status and result.status:
                assert first[tenant_id].trigger_id == result.trigger_id

    def check(self, log: str) -> None:
        """Check what the first run of the program reported."""
        for result in self.results:
            self.check_result(result)
        for error in (*self.errors, *(result.error for result in self.results)):
            assert error is None or isinstance(error, EXPECTED), repr(error)
            assert KEY not in f"{error} {error!r}"
        assert KEY not in log

    def check_result(self, result: RunResult) -> None:
        effects = self.scenario.emulator.effects["tenants.sync", int(result.tenant_id or 0)]
        assert effects <= 1, result
        if result.trigger_id is not None:
            assert effects == 1, result
        elif not getattr(result.error, "outcome_unknown", False):
            assert effects == 0, result


def create_emulator() -> Emulator:
    tenants = [{"id": tenant_id} for tenant_id in TENANTS]
    emulator = Emulator({"integrations": [{}], "tenants": tenants})
    emulator.runs.script(appears_after=0.01, phases=[("Running", 0.02), ("Succeeded", 0)])
    return emulator


@pytest.mark.posix
@pytest.mark.parametrize("number", range(ROUNDS))
async def test_promises_hold_whatever_is_combined(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No tenant is synced twice or forgotten, and no secret is shown, whatever happens at once."""
    caplog.set_level("DEBUG")
    chance = random.Random(f"{SEED} {number}")
    names = chance.sample(COMBINABLE, chance.randint(1, 5))
    print(f"PANDIUM_SEED={SEED} combines {names}")  # noqa: T201 - shown if the test fails
    with create_emulator() as emulator, anyio.fail_after(60):
        scenario = Scenario(emulator, tmp_path / "journal", chance)
        program = Program(scenario)
        with scenario.stack:
            for name in sorted(names, key=COMBINABLE.index):
                inject: Any = FAULTS[name].inject
                inject(scenario)
            await run_while_handling(scenario.handled, program)
        program.check(caplog.text)
        await program.resume()


async def run_while_handling(error: Exception | None, program: Program) -> None:
    if error is None:
        await program.run()
        return
    try:
        raise error
    except type(error):
        await program.run()
