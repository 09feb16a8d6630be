"""
The faults that the client must withstand, by name.

Each fault is tried by tests of its own, which `FAULTS` lists. Faults that have a function are also
combined at random: the function injects the fault into a `Scenario`.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from contextlib import ExitStack, asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import anyio
import attrs
import httpx
import pytest

from pandium._cancellation import is_asyncio
from pandium.emulator import Garbage, Latency, ProxyPage, RateLimit, Reset, Status, Truncate
from support import KEY
from support.engines import ENGINES
from support.instants import raise_foreign_cancellation
from support.journals import locked
from support.servers import http_date

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from pandium import RunResult
    from pandium.emulator import Emulator

    Results = AsyncIterator[RunResult]

# Lower ids are left for the tenants that are inserted.
TENANTS = range(101, 109)


class InjectedError(Exception):
    """An error of the user's own code."""


async def nothing(*_: object) -> None:
    """Do nothing, as a callback."""


async def read_all(results: Results, seen: list[RunResult]) -> None:
    async for result in results:
        seen.append(result)


@attrs.define
class Scenario:
    """
    A program that lists tenants and syncs them, into which faults are injected.

    :ivar journal: the path of the program's journal.
    :ivar stack: what is undone after the program has ended.
    :ivar callbacks: the functions that the program passes to ``sync_all``.
    :ivar after_source: a function that the source calls after the last tenant.
    :ivar read: the function that reads the results.
    :ivar engine: the context manager of the user's own ``http_client``.
    :ivar confirm_end: the option of the listing.
    :ivar handled: the error that is being handled while the program runs.
    """

    emulator: Emulator
    journal: Path
    chance: random.Random
    stack: ExitStack = attrs.field(factory=ExitStack)
    callbacks: dict[str, Any] = attrs.field(factory=dict)
    convert_id: Callable[[int], Any] = int
    after_source: Callable[[], Awaitable[None]] = nothing
    read: Callable[[Results, list[RunResult]], Awaitable[None]] = read_all
    engine: Callable[[], AbstractAsyncContextManager[httpx.AsyncClient | None]] = nullcontext
    handled: Exception | None = None
    confirm_end: bool | Literal["auto"] = "auto"

    def fail(self, operation: str, fault: Any, probability: float = 0.3) -> None:
        """Make the emulator fail at random."""
        seed = self.chance.randrange(10**6)
        self.emulator.faults.add(operation, fault, probability=probability, seed=seed)

    def fail_anywhere(self, fault: Any) -> None:
        for operation in ("tenants.list", "tenants.sync", "runs.status"):
            self.fail(operation, fault)

    def choose_tenant(self) -> int:
        return self.chance.choice(TENANTS)

    async def source(self) -> AsyncIterator[Any]:
        for tenant_id in TENANTS:
            yield self.convert_id(tenant_id)
        await self.after_source()

    def after_first_trigger(self, act: Callable[[], object]) -> None:
        """Call a function once, after the first sync of the program."""
        acts = [act]

        async def on_triggered(*_: object) -> None:
            if acts:
                acts.pop()()

        self.callbacks["on_triggered"] = on_triggered


# Responses


def lose_responses(scenario: Scenario) -> None:
    scenario.fail_anywhere(Reset(after_work=True))


def lose_requests(scenario: Scenario) -> None:
    scenario.fail_anywhere(Reset())


def fail_after_the_work(scenario: Scenario) -> None:
    scenario.fail_anywhere(Status(503, after_work=True))


def cut_off_responses(scenario: Scenario) -> None:
    scenario.fail_anywhere(Truncate())


def send_odd_responses(scenario: Scenario) -> None:
    scenario.fail("runs.status", scenario.chance.choice([Garbage(), ProxyPage(), Status(408)]))


def break_error_bodies(scenario: Scenario) -> None:
    broken = Status(503, body=gzip.compress(b"{}")[:9], headers={"Content-Encoding": "gzip"})
    scenario.fail_anywhere(broken)


def send_huge_errors(scenario: Scenario) -> None:
    scenario.fail_anywhere(Status(500, body=b"['" * 200_000))


def echo_the_key(scenario: Scenario) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
    body = f'{{"message": "{KEY} {escaped}", "detail": "{KEY.upper()}"}}'.encode()
    scenario.fail_anywhere(Status(400, body=body))


def limit_the_rate(scenario: Scenario) -> None:
    scenario.fail_anywhere(RateLimit(0, as_date=scenario.chance.random() < 0.5))


def limit_the_rate_with_a_wrong_clock(scenario: Scenario) -> None:
    date = http_date(datetime.now(UTC) + timedelta(days=scenario.chance.choice([-1, 1])))
    scenario.fail_anywhere(Status(429, headers={"Retry-After": date, "Date": date}))


def respond_late(scenario: Scenario) -> None:
    scenario.fail_anywhere(Latency(scenario.chance.uniform(0, 0.1)))


def insert_tenants(scenario: Scenario) -> None:
    drift = scenario.emulator.drift
    drift.after("tenants.list", drift.insert(1, at_front=True), times=2)


def shorten_pages(scenario: Scenario) -> None:
    scenario.emulator.page_limit = 2
    scenario.confirm_end = True  # a page that is much shorter than requested looks like the end


# The user's code


def cancel_in_a_callback(scenario: Scenario, name: str) -> None:
    unlucky = scenario.choose_tenant()

    async def callback(*arguments: Any) -> None:
        if unlucky in arguments:
            await raise_foreign_cancellation()

    scenario.callbacks[name] = callback


def fail_in_a_callback(scenario: Scenario, name: str) -> None:
    unlucky = scenario.choose_tenant()

    async def callback(*arguments: Any) -> None:
        if unlucky in arguments:
            raise InjectedError(name)

    scenario.callbacks[name] = callback


def cancel_in_the_source(scenario: Scenario) -> None:
    scenario.after_source = raise_foreign_cancellation


def fail_in_the_source(scenario: Scenario) -> None:
    async def fail() -> None:
        raise InjectedError

    scenario.after_source = fail


def handle_another_error(scenario: Scenario) -> None:
    """Run the program while an error of httpx that names a status is being handled."""
    request = httpx.Request("POST", "https://elsewhere.example")
    error = httpx.HTTPStatusError("404", request=request, response=httpx.Response(404))
    scenario.handled = error


def use_other_integers(scenario: Scenario) -> None:
    class Number:
        def __init__(self, value: int) -> None:
            self._value = value

        def __index__(self) -> int:
            return self._value

    scenario.convert_id = Number


# Reading


def share_the_iterator(scenario: Scenario) -> None:
    async def read(results: Results, seen: list[RunResult]) -> None:
        errors: list[Exception] = []

        async def read_some() -> None:
            try:
                await read_all(results, seen)
            except Exception as error:  # noqa: BLE001 - raised below, without a group
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(read_some)
        if errors:
            [error] = errors
            raise error

    scenario.read = read


def cancel_steps(scenario: Scenario) -> None:
    async def read(results: Results, seen: list[RunResult]) -> None:
        while True:
            with anyio.move_on_after(scenario.chance.uniform(0, 0.01)):
                try:
                    seen.append(await anext(results))
                except StopAsyncIteration:
                    return

    scenario.read = read


def cancel_steps_natively(scenario: Scenario) -> None:
    async def read(results: Results, seen: list[RunResult]) -> None:
        while True:
            step = anext(results)
            try:
                seen.append(await asyncio.wait_for(step, scenario.chance.uniform(0, 0.01)))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                return

    if is_asyncio():
        scenario.read = read
    else:
        cancel_steps(scenario)


# The journal


def lock_the_journal(scenario: Scenario) -> None:
    def lock() -> None:
        lock = scenario.stack.enter_context(locked(scenario.journal))
        timer = threading.Timer(scenario.chance.uniform(0, 0.5), lock.execute, ["ROLLBACK"])
        timer.start()
        scenario.stack.callback(timer.join)

    scenario.after_first_trigger(lock)


def read_the_journal(scenario: Scenario) -> None:
    scenario.after_first_trigger(scenario.journal.read_bytes)


def link_the_journal(scenario: Scenario) -> None:
    link = scenario.journal.with_name("link")
    scenario.after_first_trigger(lambda: link.hardlink_to(scenario.journal))
    scenario.stack.callback(link.unlink, missing_ok=True)


def move_the_journal(scenario: Scenario) -> None:
    moved = scenario.journal.with_name("moved")
    scenario.after_first_trigger(lambda: scenario.journal.rename(moved))
    scenario.stack.callback(lambda: moved.exists() and moved.rename(scenario.journal))


# The environment


def use_another_engine(scenario: Scenario) -> None:
    names = sorted(ENGINES) if is_asyncio() else ["httpx"]
    scenario.engine = ENGINES[scenario.chance.choice(names)]


def use_a_hook_that_raises(scenario: Scenario) -> None:
    async def hook(response: httpx.Response) -> None:
        response.raise_for_status()

    @asynccontextmanager
    async def engine() -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(event_hooks={"response": [hook]}) as client:
            yield client

    scenario.engine = engine


def set_variable(scenario: Scenario, name: str, value: str) -> None:
    patch = scenario.stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv(name, value)
    scenario.engine = nullcontext  # httpx itself rejects the variables that we tolerate


@attrs.frozen
class Fault:
    """
    A fault.

    :ivar tests: where it is tried, as the names of test functions by file.
    :ivar inject: the function that injects it into a random combination, if there is one.
    """

    tests: dict[str, str]
    inject: Callable[[Scenario], None] | None = None


FAULTS: dict[str, Fault] = {
    # Requests and responses
    "the response is lost": Fault(
        {
            "wire/test_chaos.py": "test_each_misbehavior_has_its_documented_result",
            "wire/test_not_sent.py": "test_a_lost_response_never_causes_a_second_post",
        },
        lose_responses,
    ),
    "the request is lost": Fault(
        {"wire/test_chaos.py": "test_a_connection_that_is_reset_at_once"}, lose_requests
    ),
    "a transport raises an exception of a misleading class": Fault(
        {"wire/test_not_sent.py": "test_the_class_of_an_exception_proves_nothing"},
        use_another_engine,
    ),
    "the response redirects to another host": Fault(
        {"wire/test_not_sent.py": "test_a_redirect_is_not_followed"}
    ),
    "a proxy refuses the tunnel": Fault(
        {
            "wire/test_not_sent.py": "test_a_tunnel_that_fails_was_never_sent",
            "wire/test_proxy.py": "test_a_refused_connect_was_never_sent",
        }
    ),
    "a lower layer raises an exception that nobody expects": Fault(
        {
            "wire/test_not_sent.py": (
                "test_anything_that_a_transport_raises_becomes_a_pandium_error"
                " test_an_invalid_signed_url_is_a_decode_error"
            )
        }
    ),
    "the server fails after executing the request": Fault(
        {"wire/test_chaos.py": "test_each_misbehavior_has_its_documented_result"},
        fail_after_the_work,
    ),
    "the response is cut off": Fault(
        {"wire/test_chaos.py": "test_each_misbehavior_has_its_documented_result"},
        cut_off_responses,
    ),
    "the response is late": Fault(
        {"wire/test_connections.py": "test_a_response_that_times_out_is_an_unknown_outcome"},
        respond_late,
    ),
    "the body of an error cannot be read": Fault(
        {"wire/test_body.py": "test_the_status_decides_whatever_the_body_is"}, break_error_bodies
    ),
    "the body of an error is huge": Fault(
        {
            "unit/test_responses.py": (
                "test_a_long_literal_is_not_evaluated test_a_long_error_body_is_cut"
            ),
            "unit/test_redaction.py": "test_a_megabyte_of_hostile_text_takes_linear_steps",
        },
        send_huge_errors,
    ),
    "a text that is searched is hostile": Fault(
        {
            "wire/test_creating_builds.py": "test_another_422_is_raised_at_once",
            "unit/test_redaction.py": "test_a_megabyte_of_quotes_is_logged_in_linear_time",
        }
    ),
    "a compressed body never ends and has no content": Fault(
        {"wire/test_body.py": "test_an_invalid_or_oversized_body_is_a_decode_error"}
    ),
    "a trigger id cannot be used": Fault(
        {"wire/test_sync_all.py": "test_an_unusable_trigger_id_is_one_unknown_result"}
    ),
    "a status is huge": Fault(
        {"wire/test_waiting.py": "test_a_long_status_is_shortened_in_messages"}
    ),
    "one response to a poll is odd": Fault(
        {"wire/test_waiting_faults.py": "test_an_odd_response_is_waited_out"}, send_odd_responses
    ),
    "a rate limit has already elapsed": Fault(
        {
            "unit/test_retry.py": (
                "test_a_retry_after_of_zero_does_not_replace_the_back_off"
                " test_a_429_without_a_wait_is_charged"
            )
        },
        limit_the_rate,
    ),
    "the clock of the server is wrong": Fault(
        {"unit/test_responses.py": "test_a_date_counts_from_the_servers_own_clock"},
        limit_the_rate_with_a_wrong_clock,
    ),
    # Listings
    "a page is shorter than requested": Fault(
        {"unit/test_listing.py": "test_a_server_that_shortens_pages_loses_no_record"},
        shorten_pages,
    ),
    "a record occurs twice on a page": Fault(
        {"unit/test_listing.py": "test_a_record_that_occurs_twice_on_a_page_is_delivered_once"}
    ),
    "tenants are added during a listing": Fault(
        {
            "wire/test_listing_emulator.py": (
                "test_tenants_that_are_always_listed_are_delivered_exactly_once"
            )
        },
        insert_tenants,
    ),
    "one record has odd values": Fault(
        {"unit/test_lenient.py": "test_one_odd_record_does_not_lose_its_page"}
    ),
    # Iterators and cancellation
    "user code raises a cancellation of another task": Fault(
        {"unit/test_sync.py": "test_a_foreign_cancellation_is_the_tenants_result"},
        lambda scenario: cancel_in_a_callback(
            scenario, scenario.chance.choice(["payload", "on_triggered", "on_status"])
        ),
    ),
    "user code raises an error": Fault(
        {
            "unit/test_sync.py": (
                "test_a_payload_error_is_one_result"
                " test_an_error_of_on_triggered_is_the_tenants_result"
            )
        },
        lambda scenario: fail_in_a_callback(
            scenario, scenario.chance.choice(["payload", "on_triggered", "on_status"])
        ),
    ),
    "a source raises a cancellation of another task": Fault(
        {"unit/test_sync.py": "test_a_source_never_just_ends"}, cancel_in_the_source
    ),
    "a source raises an error": Fault(
        {"unit/test_sync.py": "test_an_error_of_the_source_is_raised_last"}, fail_in_the_source
    ),
    "a step of an iteration is canceled": Fault(
        {
            "unit/test_background.py": (
                "test_each_result_is_delivered_once_whatever_is_canceled"
                " test_each_streamed_record_is_delivered_once_whatever_is_canceled"
            )
        },
        lambda scenario: scenario.chance.choice([cancel_steps, cancel_steps_natively])(scenario),
    ),
    "a consumer is canceled while there is no room for more": Fault(
        {"unit/test_background.py": "test_a_stream_without_room_is_idle_whatever_is_canceled"}
    ),
    "several tasks share an iterator": Fault(
        {
            "unit/test_background.py": "test_consumers_share_the_items",
            "unit/test_listing.py": "test_tasks_can_share_an_iterator",
        },
        share_the_iterator,
    ),
    "a generator is abandoned": Fault(
        {"unit/test_background.py": "test_an_abandoned_generator_cancels_nobody"}
    ),
    # The user's code
    "the caller is handling another error": Fault(
        {"wire/test_not_sent.py": "test_what_the_caller_handles_is_not_our_cause"},
        handle_another_error,
    ),
    "an event hook raises an error": Fault(
        {
            "wire/test_not_sent.py": (
                "test_a_hook_that_raises_for_status_keeps_the_status"
                " test_an_error_of_a_hook_is_the_users"
            )
        },
        use_a_hook_that_raises,
    ),
    "an error of user code is frozen or false": Fault(
        {
            "wire/test_not_sent.py": "test_an_odd_error_of_a_hook_is_the_users",
            "wire/test_key_function.py": "test_an_error_of_the_function_is_raised_unchanged",
            "unit/test_walk.py": "test_other_exceptions_are_raised_unchanged",
            "unit/test_sync.py": "test_an_error_of_the_source_is_raised_last",
        }
    ),
    "a number is too large for a float": Fault(
        {"unit/test_validation.py": "test_an_invalid_argument_is_named"}
    ),
    "ids are integers of another type": Fault(
        {"wire/test_sync_all.py": "test_integers_of_other_types_are_ids"}, use_other_integers
    ),
    # The journal
    "the journal is used by a forked child": Fault(
        {
            "unit/test_file_identity.py": "test_a_child_cannot_use_the_journal_of_its_parent",
            "wire/test_killed.py": "test_a_process_may_fork_and_read_its_journal",
        }
    ),
    "the files beside the journal are deleted": Fault(
        {
            "unit/test_file_identity.py": "test_no_claim_is_lost_with_the_files_beside_a_journal",
            "wire/test_killed.py": "test_the_files_beside_a_journal_can_be_deleted",
        }
    ),
    "the journal is deleted or replaced": Fault(
        {
            "unit/test_sqlite.py": "test_a_file_that_is_gone_is_noticed",
            "unit/test_file_identity.py": (
                "test_a_journal_that_is_lost_while_in_use_is_not_begun_anew"
                " test_the_journal_of_a_killed_process_is_not_begun_anew"
            ),
            "wire/test_killed.py": "test_a_journal_that_is_moved_away_is_not_begun_anew",
        },
        move_the_journal,
    ),
    "the journal is overwritten": Fault(
        {"unit/test_file_identity.py": "test_a_file_that_is_overwritten_is_noticed"}
    ),
    "the journal gets a second name": Fault(
        {"unit/test_file_identity.py": "test_a_second_name_is_noticed"}, link_the_journal
    ),
    "the journal is read in a process that uses it": Fault(
        {"unit/test_lock_file.py": "test_reading_a_file_does_not_unlock_it"}, read_the_journal
    ),
    "the journal is locked": Fault(
        {
            "wire/test_sync_all.py": (
                "test_a_wait_ends_at_its_limit_while_the_journal_is_locked"
                " test_a_cancellation_takes_one_grace_period_while_the_journal_is_locked"
            )
        },
        lock_the_journal,
    ),
    "the disk is full": Fault(
        {
            "unit/test_sqlite.py": (
                "test_a_rejected_record_is_written_later test_records_that_are_lost_are_named"
            ),
            "wire/test_disturbed_job.py": (
                "test_a_job_survives_whatever_is_done_to_its_processes_and_files"
            ),
        }
    ),
    "a process is killed or suspended": Fault(
        {
            "wire/test_killed.py": (
                "test_a_killed_process_can_be_resumed"
                " test_a_killed_and_a_suspended_process_harm_no_other"
            )
        }
    ),
    "no thread can be started": Fault(
        {
            "unit/test_sqlite.py": "test_closing_needs_no_thread test_a_journal_needs_a_thread",
            "wire/test_connections.py": "test_a_client_needs_no_thread",
        }
    ),
    "there is no journal file": Fault(
        {"unit/test_sqlite.py": "test_a_journal_in_memory_needs_no_thread"}
    ),
    # Secrets
    "a server echoes the key": Fault(
        {
            "wire/test_secrets.py": "test_an_echoed_key_is_redacted",
            "unit/test_redaction.py": "test_a_key_is_redacted_in_every_spelling",
        },
        echo_the_key,
    ),
    "a report shows local variables": Fault(
        {
            "wire/test_secrets.py": (
                "test_no_traceback_has_the_key_in_a_local_variable"
                " test_no_traceback_has_a_signed_url_in_a_local_variable"
            )
        }
    ),
    "a lower library logs a signed URL": Fault(
        {"wire/test_mocking.py": "test_no_logger_writes_a_signed_url"}
    ),
    # The environment
    "NO_PROXY has an unusual form": Fault(
        {"unit/test_environment.py": "test_no_proxy_in_every_form"},
        lambda scenario: set_variable(scenario, "NO_PROXY", "10.0.0.0/8,[::1],.a:8,*.b,,127.0.0.1"),
    ),
    "SSLKEYLOGFILE cannot be written": Fault(
        {"unit/test_environment.py": "test_a_key_log_that_cannot_be_written_is_ignored"},
        lambda scenario: set_variable(scenario, "SSLKEYLOGFILE", "/absent/keys"),
    ),
    "OpenTelemetry is incomplete or fails": Fault(
        {
            "wire/test_telemetry.py": (
                "test_calls_work_if_only_the_namespace_is_installed"
                " test_a_provider_that_fails_is_logged_once"
            )
        }
    ),
    "the event loop must not be blocked": Fault(
        {"wire/test_connections.py": "test_entering_the_block_imports_modules_in_a_thread"}
    ),
    "the thread of the server cannot start": Fault(
        {"emulator/test_http_server.py": "test_a_thread_that_cannot_start_is_an_error"}
    ),
    "another pytest plugin is missing or in another mode": Fault(
        {
            "emulator/test_pytest_plugin.py": (
                "test_it_works_without_pytest_asyncio"
                " test_it_works_beside_pytest_asyncio_in_strict_mode"
            )
        }
    ),
    # The command line
    "the locale is not UTF-8": Fault(
        {"cli/test_pandium_api.py": "test_text_is_utf_8_in_every_locale"}
    ),
    "a file begins with a byte order mark": Fault(
        {"cli/test_pandium_api.py": "test_a_key_file_may_have_a_byte_order_mark"}
    ),
    "a standard stream is closed or full": Fault(
        {
            "cli/test_pandium_api.py": (
                "test_a_closed_stream_is_not_a_traceback test_a_closed_standard_input_is_one_line"
                " test_a_full_disk_is_one_line"
            )
        }
    ),
    "the terminal cannot draw": Fault(
        {"cli/test_terminal.py": "test_only_a_capable_terminal_can_draw"}
    ),
    "a number is not valid JSON": Fault(
        {"cli/test_rows.py": "test_numbers_that_json_lacks_become_null"}
    ),
    "the command is run as a module": Fault(
        {"cli/test_pandium_api.py": "test_the_module_runs_the_command"}
    ),
}
COMBINABLE = [name for name, fault in FAULTS.items() if fault.inject is not None]
