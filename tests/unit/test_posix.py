"""What needs POSIX is marked and skipped elsewhere, and the package works without it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.cli import FAST_POLLING, add_tenants, api_variables, child_environment, sent_posts
from support.without_posix import TESTS, run_without_posix

if TYPE_CHECKING:
    from pandium.emulator import Emulator

# What does not exist or does not work on Windows, where files have no permissions or symbolic links
# for everyone, and where only `kill` ends another process.
POSIX_TEXTS = re.compile(
    r"""/dev/|/proc/|['"](bash|sh)['"]|\b(chmod|fcntl|fork|geteuid|getrlimit|hardlink_to|killpg"""
    r"""|memfd_create|mkfifo|openpty|preexec_fn|prlimit|send_signal|setrlimit|setsid|SIGCONT"""
    r"""|SIGHUP|SIGKILL|SIGSTOP|symlink_to|termios)\b"""
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def units_of(path: Path) -> dict[str, ast.stmt]:
    """Return the functions, variables and methods that a module defines, by name or `.name`."""
    units: dict[str, ast.stmt] = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(body=body):
                units |= {f".{one.name}": one for one in body if isinstance(one, FUNCTIONS)}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                units[name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                units[name] = node
    return units


@cache
def imports_of(path: Path) -> dict[str, Path]:
    """Return the modules of `support` from which a module imports names, by name."""
    return {
        alias.name: TESTS / f"{node.module.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("support.")
        for alias in node.names
    }


@cache
def code_of(path: Path, name: str) -> str:
    """Return the code of a unit, without comments and its docstring."""
    node = units_of(path)[name]
    if not isinstance(node, FUNCTIONS):
        return ast.unparse(node)
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return "\n".join(map(ast.unparse, [node.args, *node.decorator_list, *body]))


@cache
def units_used_by(path: Path, name: str) -> set[tuple[Path, str]]:
    """Return the units, here or in `support`, whose names a unit contains."""
    words = set(re.findall(r"\.?\b\w+", code_of(path, name)))
    methods = {word for word in words if word.startswith(".")}
    units = {(path, word) for word in words & units_of(path).keys()}
    for imported, module in imports_of(path).items():
        found = ({imported} & words | methods) & units_of(module).keys()
        units |= {(module, word) for word in found}
    return units


def needs_posix(path: Path, name: str, seen: set[tuple[Path, str]]) -> bool:
    """Return whether a unit or one that it uses, directly or not, needs POSIX."""
    if (path, name) in seen:
        return False
    seen.add((path, name))
    code = code_of(path, name)
    if POSIX_TEXTS.search(code):
        return True
    return any(needs_posix(*unit, seen) for unit in units_used_by(path, name))


def is_marked(path: Path, node: ast.stmt) -> bool:
    """Return whether a test or its module is marked ``posix`` or ``postgres``."""
    marks: list[ast.AST] = [*node.decorator_list] if isinstance(node, FUNCTIONS) else []
    marks += [units_of(path)["pytestmark"]] if "pytestmark" in units_of(path) else []
    return any(re.search(r"mark\.(posix|postgres)\b", ast.unparse(one)) for one in marks)


def test_what_needs_posix_is_marked() -> None:
    """A test is marked ``posix`` if it or one of its helpers uses what only POSIX systems have."""
    unmarked = [
        f"{path.relative_to(TESTS)}::{name}"
        for path in sorted({*TESTS.rglob("test_*.py")} - {Path(__file__)})
        for name, node in units_of(path).items()
        if name.startswith("test_") and not is_marked(path, node) and needs_posix(path, name, set())
    ]
    assert unmarked == []


# pytest-random-order 1.1 requires the cache, which would overwrite that of this run.
PYTEST = """
import pytest, sys
sys.exit(pytest.main(["-p", "no:random_order", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_tests_are_skipped_without_posix() -> None:
    """On another system, the tests marked ``posix`` are skipped, and the reason is given."""
    done = run_without_posix(PYTEST, "-q", TESTS / "unit" / "test_lock_file.py", cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\d+ skipped in .*", done.stdout.splitlines()[-1])
    assert "requires a POSIX system" in done.stdout


# Collecting all tests instead would take four times as long.
IMPORT = """
import importlib.util, sys
import pytest
sys.path.insert(0, sys.argv[1])
for path in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("module", path)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except pytest.skip.Exception:
        pass
"""


def test_every_test_module_can_be_imported_without_posix() -> None:
    """On another system, no module of the tests fails to be imported."""
    modules = map(str, TESTS.rglob("test_*.py"))
    done = run_without_posix(IMPORT, str(TESTS), *modules)
    assert (done.returncode, done.stderr) == (0, "")


EVERY_MODULE = """
import importlib, pkgutil
import pandium, pandium_api, pandium_pytest
for module in pkgutil.walk_packages(pandium.__path__, "pandium."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
COMMAND = "import sys; from pandium_api import main; sys.exit(main())"


def test_every_module_can_be_imported_without_posix() -> None:
    """The client, the command line, the emulator and the fixtures need no module of POSIX."""
    done = run_without_posix(EVERY_MODULE)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_and_a_journal_work_without_posix(
    emulator: Emulator, journal_path: Path
) -> None:
    """A job is resumed from its journal, whose lock file only marks that it is in use."""
    ids = add_tenants(emulator, "Succeeded", "Succeeded")
    line = ["tenants", "sync", *ids, "--wait", "--journal", str(journal_path), *FAST_POLLING]
    variables: Any = child_environment(api_variables(emulator.url))
    first, second = (run_without_posix(COMMAND, *line, **variables) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "pandium-api: 2 succeeded\n")
    assert f"resuming journal {journal_path}: 2 succeeded" in second.stderr
    assert len(sent_posts(emulator)) == 2
    assert list(journal_path.parent.iterdir()) == [journal_path]
