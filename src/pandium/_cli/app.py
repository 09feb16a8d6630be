"""Put the commands together, and turn what goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click
from click.shell_completion import shell_complete

import pandium
from pandium._cli import exit_codes as codes
from pandium._cli.commands.builds import builds
from pandium._cli.commands.connectors import connectors
from pandium._cli.commands.demo import demo
from pandium._cli.commands.emulator import emulator
from pandium._cli.commands.integrations import integrations
from pandium._cli.commands.releases import releases
from pandium._cli.commands.request import request
from pandium._cli.commands.runs import runs
from pandium._cli.commands.tenants import tenants
from pandium._cli.commands.watch import watch
from pandium._cli.options import Root
from pandium._cli.output.terminal import note

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

_PROGRAM = "pandium-api"
_COMPLETE = "_PANDIUM_API_COMPLETE"  # the variable by which shells ask for completions


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pandium.__version__, message="%(version)s")
def app() -> None:
    """
    Work with the Pandium API.

    The API key is that of PANDIUM_API_KEY, of --key-file, or of a prompt. PANDIUM_ENV and
    PANDIUM_BASE_URL stand for the options of those names.

    \b
    Exit codes: 0 all is well; 1 some runs failed; 2 the command line is wrong;
    3 the configuration is; 4 the API refused or could not be reached;
    5 the time limit came first; 74 a file or the output could not be read or written;
    130 for Ctrl-C.
    """  # noqa: D301 - click wants the character itself


for _command in (
    tenants, integrations, releases, runs, builds, connectors, request, watch, emulator, demo,
):  # fmt: skip
    app.add_command(_command)


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """
    Write completions for a shell.

    \b
    bash: pandium-api completion bash > ~/.local/share/bash-completion/completions/pandium-api
    zsh:  pandium-api completion zsh > "${fpath[1]}/_pandium-api"
    fish: pandium-api completion fish > ~/.config/fish/completions/pandium-api.fish
    """  # noqa: D301 - click wants the character itself
    shell_complete(app, {}, _PROGRAM, _COMPLETE, f"{shell}_source")


def run(arguments: Sequence[str]) -> int:
    """Run a command line, and give the exit code."""
    if instruction := os.environ.get(_COMPLETE):
        return shell_complete(app, {}, _PROGRAM, _COMPLETE, instruction)
    try:
        with app.make_context(_PROGRAM, list(arguments)) as context:
            code: int = app.invoke(context) or 0
            sys.stdout.flush()
            return code
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return codes.USAGE
    except click.ClickException as error:
        return _refuse(error)
    except BrokenPipeError:
        raise
    except (pandium.PandiumError, ValueError, OSError) as error:
        note(f"error: {_worded(error)}")
        return _code_of(error)


def _refuse(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    path = _PROGRAM if context is None else context.command_path
    note(f"error: {error.format_message()} ({path} --help says more)")
    return codes.USAGE


def _worded(error: Exception) -> str:
    hint = _hint(error) if isinstance(error, pandium.PandiumError) else ""
    return f"{error} ({hint})" if hint else str(error)


def _hint(error: pandium.PandiumError) -> str:
    if error.resume_skip:
        return f"--skip {error.resume_skip} goes on from there"
    if isinstance(error, pandium.AuthenticationError):
        return "check the key and the environment"
    if error.outcome_unknown and error.method != "GET":
        return "it may have been carried out"
    return ""


def _code_of(error: Exception) -> int:
    """Give the exit code of an error; the argument of a Python function is an option of ours."""
    # 1. before its base, ValueError  2. all others of the client's  3. what the client checks
    if isinstance(error, pandium.ConfigurationError):
        return codes.CONFIGURATION
    if isinstance(error, pandium.PandiumError):
        return codes.API
    return codes.USAGE if isinstance(error, ValueError) else codes.NO_IO
