"""
Generate the synchronous resources from the asynchronous ones.

    python tools/generate_sync.py > src/pandium/_sync/resources.py
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

RESOURCES = Path(__file__).parents[1] / "src" / "pandium" / "_resources"
NAMES = ("builds", "connectors", "integrations", "releases", "runs", "tenants")
LINE = 100
Method = ast.FunctionDef | ast.AsyncFunctionDef
HEADER = '''\
"""
The operations of the synchronous client. Each runs an asynchronous operation in the event loop.

This module is generated. To update it, run:

    python tools/generate_sync.py > src/pandium/_sync/resources.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pandium._resources.trigger_status import default_outcome
from pandium._sync.functions import UserFunctions
from pandium._sync.iteration import SyncListing, SyncRunResults
from pandium._waiting.polling import Polling

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import AsyncIterable, Iterable, Mapping

    from pandium._bulk.sync import OnTriggered
    from pandium._listing.listing import ConfirmEnd, OnDrift
    from pandium._resources.builds import Builds
    from pandium._resources.connectors import Connectors, Headers
    from pandium._resources.integrations import Integrations
    from pandium._resources.releases import Releases
    from pandium._resources.runs import Runs
    from pandium._resources.tenants import Payload, T, Tenants
    from pandium._resources.trigger_status import OnStatus, OnStatusOf
    from pandium._sync.httpx_transport import SyncConnectorTransport
    from pandium._sync.loop_thread import LoopThread
    from pandium._waiting.polling import Classify
    from pandium._waiting.results import RunResult
    from pandium._waiting.scheduler import Source
    from pandium.models import (
        Integration,
        Release,
        ReleaseChannel,
        Run,
        RunMode,
        Tenant,
        TenantMetadata,
        Trigger,
        TriggerStatus,
    )
    from pandium.postgres import PostgresJournal

__all__ = [{exports}]
'''
# Arguments that are passed to the asynchronous operation in a form that does not block the loop.
CONVERTED = {
    "on_status": "functions.callback(on_status)",
    "on_triggered": "functions.callback(on_triggered, is_required=True)",
    "tenants": "functions.source(tenants)",
    "triggers": "functions.source(triggers)",
}
# `payload` is a function only in this method.
WITH_PAYLOAD = {"sync_all": {"payload": "functions.callback(payload)"}}
# Changes to the code in a docstring.
CODE = ((r"\b(async|await) ", ""), (r"\bAsync(Pandium|Client)\b", r"\1"))
# Changes to the text of a docstring. Words may be on different lines.
TEXT = (
    ("an async context manager and async iterator", "a context manager and iterator"),
    ("if ``anext`` is canceled or several tasks", "if several threads"),
    ("read from any task", "read from any thread"),
    (
        "It is canceled if it is still running 2 seconds after the time limit.",
        "If it is still running 2 seconds after the time limit, the wait continues without it.",
    ),
    ("even if the task is canceled just", "even if the call is interrupted just"),
    (" In that case, an async function is canceled at its first ``await``.", ""),
    (" A cancellation that belongs to another task is replaced with a ``RuntimeError``.", ""),
    ("a ``Listing``, which can", "a ``SyncListing``, which can"),
    ("``httpx.AsyncClient`` or ``httpx2.AsyncClient``", "``httpx.Client`` or ``httpx2.Client``"),
)


def main() -> None:
    trees = {name: ast.parse((RESOURCES / f"{name}.py").read_text()) for name in NAMES}
    classes = [find_class(tree, name.title()) for name, tree in trees.items()]
    exports = "".join(f'\n    "Sync{cls.name}",' for cls in classes)
    header = HEADER.format(exports=f"{exports}\n")
    print("\n\n".join([header, *map(write_class, classes)]), end="")  # noqa: T201 - the output


def find_class(tree: ast.Module, name: str) -> ast.ClassDef:
    [found] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found


def write_class(cls: ast.ClassDef) -> str:
    methods = [
        write_method(node) for node in cls.body if isinstance(node, Method) and node.name[0] != "_"
    ]
    head = f"""\
@attrs.frozen
class Sync{cls.name}:
{write_docstring(cls, 4)}

    _loop: LoopThread = attrs.field(repr=False)
    _resource: {cls.name} = attrs.field(repr=False)
"""
    return "\n".join([head, *methods])


def write_method(node: Method) -> str:
    returned = to_sync(ast.unparse(node.returns)) if node.returns else "None"
    signature = fit(f"    def {node.name}", parameters(node), f" -> {returned}:")
    return f"{signature}\n{write_docstring(node, 8)}\n{write_body(node, returned)}\n"


def to_sync(annotation: str) -> str:
    return re.sub(r"\b(Listing|RunResults|ConnectorTransport)\b", r"Sync\1", annotation)


def parameters(node: Method) -> list[str]:
    arguments = node.args
    first = len(arguments.args) - len(arguments.defaults)
    found = []
    for index, argument in enumerate(arguments.args):
        default = arguments.defaults[index - first] if index >= first else None
        found.append(parameter(argument, default))
    if arguments.kwonlyargs:
        found.append("*")
    found += map(parameter, arguments.kwonlyargs, arguments.kw_defaults)
    return found + ([f"**{parameter(arguments.kwarg)}"] if arguments.kwarg else [])


def parameter(argument: ast.arg, default: ast.expr | None = None) -> str:
    text = ast.unparse(argument).replace("'", '"')
    value = "" if default is None else ast.unparse(default).replace("'", '"')
    return text + (f"{' = ' if argument.annotation else '='}{value}" if value else "")


def write_body(node: Method, returned: str) -> str:
    converted = CONVERTED | WITH_PAYLOAD.get(node.name, {})
    names = [argument.arg for argument in node.args.args[1:]]
    values = [converted.get(name, name) for name in names]
    names = [argument.arg for argument in node.args.kwonlyargs]
    values += [f"{name}={converted.get(name, name)}" for name in names]
    values += [f"**{node.args.kwarg.arg}"] if node.args.kwarg else []
    takes_functions = any("functions." in value for value in values)
    return "\n".join(write_statements(node, returned, values, takes_functions=takes_functions))


def write_statements(
    node: Method,
    returned: str,
    values: list[str],
    *,
    takes_functions: bool,
) -> Iterator[str]:
    method = f"self._resource.{node.name}"
    if isinstance(node, ast.AsyncFunctionDef):
        indent = " " * (12 if takes_functions else 8)
        if takes_functions:
            yield "        with UserFunctions(self._loop) as functions:"
        yield wrap_call(f"{indent}return self._loop.call", f"lambda: {method}", values)
    elif takes_functions:
        yield "        functions = UserFunctions(self._loop)"
        yield fit(f"        results = {method}", values, "")
        yield f"        return {returned.partition('[')[0]}(self._loop, results, functions.close)"
    elif returned == "SyncConnectorTransport":
        # Importing the module imports httpx.
        yield "        from pandium._sync.httpx_transport import SyncConnectorTransport"
        yield ""
        yield fit(f"        transport = {method}", values, "")
        yield "        return SyncConnectorTransport(self._loop, transport)"
    else:
        yield fit(f"        listing = {method}", values, "")
        yield "        return SyncListing.of(self._loop, listing)"


def wrap_call(outer: str, inner: str, values: list[str]) -> str:
    """Return a call with one argument, which is itself a call, on as few lines as possible."""
    line = f"{outer}({inner}({', '.join(values)}))"
    if len(line) <= LINE:
        return line
    indent = " " * (len(outer) - len(outer.lstrip()))
    return f"{outer}(\n{fit(f'{indent}    {inner}', values, '')}\n{indent})"


def fit(start: str, items: list[str], end: str) -> str:
    """Return items in parentheses: on one line, on one line of their own, or on a line each."""
    line = f"{start}({', '.join(items)}){end}"
    if len(line) <= LINE:
        return line
    indent = " " * (len(start) - len(start.lstrip()))
    inner = f"{indent}    {', '.join(items)}"
    if len(inner) > LINE:
        inner = "\n".join(f"{indent}    {item}," for item in items)
    return f"{start}(\n{inner}\n{indent}){end}"


def write_docstring(node: ast.ClassDef | Method, indent: int) -> str:
    docstring = ast.get_docstring(node) or ""
    text, *others = re.split(r"(```python\n.*?```\n*)", docstring, flags=re.DOTALL)
    parts = [change_text(text, LINE - indent)]
    for code, following in zip(others[::2], others[1::2], strict=True):
        parts += [change_code(code), change_text(following, LINE - indent)]
    lines = "".join(parts).splitlines()
    if len(lines) == 1:
        return f'{" " * indent}"""{lines[0]}"""'
    quoted = ['"""', *lines, '"""']
    return "\n".join(f"{' ' * indent}{line}".rstrip() for line in quoted)


def change_code(code: str) -> str:
    for pattern, replacement in CODE:
        code = re.sub(pattern, replacement, code)
    return code


def change_text(text: str, width: int) -> str:
    """Replace text, and wrap the paragraphs and fields in which it occurs again."""
    blocks = re.split(r"(\n\n|\n(?=:))", text)
    return "".join(change_block(block, width) for block in blocks)


def change_block(block: str, width: int) -> str:
    changed = " ".join(block.split())
    for old, new in TEXT:
        changed = changed.replace(old, new)
    if changed == " ".join(block.split()):
        return block
    indent = "    " if block.startswith(":") else ""
    lines = textwrap.fill(
        changed, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return lines + block[len(block.rstrip()) :]


if __name__ == "__main__":
    main()
