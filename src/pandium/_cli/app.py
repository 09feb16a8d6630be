"""Assemble the commands and report each error as a one-line message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click
from click.shell_completion import shell_complete

import pandium
from pandium._cli import exit_codes
from pandium._cli.commands.builds import builds
from pandium._cli.commands.connectors import connectors
from pandium._cli.commands.demo import demo
from pandium._cli.commands.doctor import doctor
from pandium._cli.commands.emulator import emulator
from pandium._cli.commands.integrations import integrations
from pandium._cli.commands.journal import journal
from pandium._cli.commands.mcp import mcp
from pandium._cli.commands.releases import releases
from pandium._cli.commands.request import request
from pandium._cli.commands.runs import runs
from pandium._cli.commands.tenants import tenants
from pandium._cli.commands.watch import watch
from pandium._cli.options import RootGroup, decode_arguments
from pandium._cli.output.terminal import note
from pandium._cli.signals import SignalHandler

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

_PROGRAM = "pandium-api"
_COMPLETION_VARIABLE = "_PANDIUM_API_COMPLETE"  # set by the shell to request completions


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pandium.__version__, message="%(version)s")
def app() -> None:
    """
    Work with the Pandium API.

    \b
    Terms:
      integration  code that moves data between systems, published as releases
      tenant       one customer's installation of an integration
      sync         a request to run a tenant's integration now; it returns a trigger
      trigger      the id of a sync, which is used to wait for its run
      run          one execution of an integration for a tenant, with a status and a log

    The API key is read from --key-file, PANDIUM_API_KEY, the key file of --profile, or a prompt.
    PANDIUM_ENV and PANDIUM_BASE_URL set the defaults for --environment and --base-url.

    \b
    Exit codes:
      0    everything succeeded
      1    some runs or syncs failed, or their outcome is unknown
      2    the command line is invalid
      3    the configuration is invalid, or there is no API key
      4    the API returned an error or could not be reached
      5    some runs or builds did not finish within the time limit, and none failed
      74   the output could not be written, or a journal could not be used, read or written
      129  ended by SIGHUP, for example because the terminal was closed
      130  ended by Ctrl-C (SIGINT)
      141  the program reading the output, such as head, closed the pipe
      143  ended by SIGTERM, for example by systemd, docker stop or a CI system

    \b
    If several apply, the first of these wins:
      1. a signal (129, 130, 143)
      2. output that cannot be written (141, 74)
      3. an error that ended the command early (2, 3, 4, 5, 74)
      4. the outcomes of the runs: all syncs were rejected by the API (4), some failed,
         were rejected or are unknown (1), some did not finish in time (5), all succeeded (0)
    """  # noqa: D301 - click interprets the escape itself


for _command in (
    tenants, integrations, releases, runs, builds, connectors, request, watch, journal, emulator,
    demo, mcp, doctor,
):  # fmt: skip
    app.add_command(_command)


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """
    Print a shell completion script.

    Install it with one of these commands:

    \b
    bash: pandium-api completion bash > ~/.local/share/bash-completion/completions/pandium-api
    zsh:  pandium-api completion zsh > "${fpath[1]}/_pandium-api"
    fish: pandium-api completion fish > ~/.config/fish/completions/pandium-api.fish
    """  # noqa: D301 - click interprets the escape itself
    shell_complete(app, {}, _PROGRAM, _COMPLETION_VARIABLE, f"{shell}_source")


def run(arguments: Sequence[str]) -> int:
    """
    Run a command line and return the exit code.

    :param arguments: the command-line arguments, without the program name.
    """
    if instruction := os.environ.get(_COMPLETION_VARIABLE):
        return shell_complete(app, {}, _PROGRAM, _COMPLETION_VARIABLE, instruction)
    with SignalHandler() as signals:
        try:
            return _invoke(arguments, signals)
        except KeyboardInterrupt as error:
            _report_interruption(error)
            raise


def _invoke(arguments: Sequence[str], signals: SignalHandler) -> int:
    """Run a command and return the exit code. Report errors, other than signals."""
    try:
        with app.make_context(_PROGRAM, decode_arguments(arguments), obj=signals) as context:
            code: int = app.invoke(context) or exit_codes.SUCCESS
            sys.stdout.flush()
            return code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return exit_codes.USAGE
    except click.ClickException as error:
        return _report_usage_error(error)
    except (pandium.PandiumError, OSError) as error:
        _report_error(error)
        return _error_exit_code(error)


def _report_interruption(error: KeyboardInterrupt) -> None:
    # Ctrl-C is a normal way to end a command such as `watch`, so do not mention it needlessly.
    number = getattr(error, "number", signal.SIGINT)
    if number != signal.SIGINT:
        note(f"ended by {signal.Signals(number).name}")
    elif _notes(error):
        note("interrupted")
    for hint in _notes(error):
        note(hint)


def _report_error(error: Exception) -> None:
    # A reader such as `head` may close the pipe at any time, so do not mention it needlessly.
    if not isinstance(error, BrokenPipeError):
        note(f"error: {_describe_error(error)}")
    elif _notes(error):
        note("the program that reads the output has closed the pipe")
    for hint in _notes(error):
        note(hint)


def _notes(error: BaseException) -> list[str]:
    return getattr(error, "__notes__", [])


def _report_usage_error(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    command = _PROGRAM if context is None else context.command_path
    note(f"error: {error.format_message()} (see {command} --help)")
    return exit_codes.USAGE


def _describe_error(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, pandium.PandiumError):
        return f"cannot write the output: {error.strerror or error}"
    hint = _error_hint(error) if isinstance(error, pandium.PandiumError) else ""
    return f"{error} ({hint})" if hint else str(error)


def _error_hint(error: pandium.PandiumError) -> str:
    if isinstance(error, pandium.RateLimited) and error.retry_after is not None:
        return f"the API accepts requests again in {error.retry_after:.0f} s"
    if isinstance(error, pandium.AuthenticationError):
        return "check the API key and the environment"
    if error.outcome_unknown and error.method != "GET":
        return "the request may have been executed"
    return ""


def _error_exit_code(error: Exception) -> int:
    # These cases are checked in order:
    # 1. an error of a journal, before its base class ConfigurationError
    # 2. another ConfigurationError or a time limit, before their base class PandiumError
    # 3. any other client error
    # 4. an OSError: the output could not be written
    if isinstance(error, pandium.JournalError):
        return exit_codes.IO_ERROR
    if isinstance(error, pandium.ConfigurationError):
        return exit_codes.CONFIGURATION
    if isinstance(error, pandium.WaitTimeout):
        return exit_codes.TIMEOUT
    if isinstance(error, pandium.PandiumError):
        return exit_codes.API
    is_broken_pipe = isinstance(error, BrokenPipeError)
    return exit_codes.BROKEN_PIPE if is_broken_pipe else exit_codes.IO_ERROR
