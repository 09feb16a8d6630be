"""The layers of docs/architecture.md, held against the imports of each module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pandium

SOURCE = Path(pandium.__file__).parent

# A module imports only from a smaller layer; those of one layer never import each other.
LAYERS: dict[str, int] = {
    "_version": 0,
    "models": 0,
    "_background": 0,
    "_clock": 0,
    "_trail": 0,
    "_pool": 0,
    "errors": 1,
    "_progress": 1,
    "_config": 2,
    "_tolerant": 2,
    "_database": 2,
    "_answers": 2,
    "_retry": 2,
    "_telemetry": 2,
    "_connections": 3,
    "_convert": 3,
    "_paging": 3,
    "_polling": 3,
    "_journal": 3,
    "_transport": 4,
    "_schedule": 4,
    "_syncing": 5,
    "_resources._checks": 5,
    "_resources._listings": 5,
    "_resources._upstream": 5,
    "_resources._waiting": 5,
    "_resources": 5,
    "_resources.builds": 6,
    "_resources.connectors": 6,
    "_resources.integrations": 6,
    "_resources.releases": 6,
    "_resources.runs": 6,
    "_resources.tenants": 6,
    "_client": 7,
    "": 8,
    "_cli": 9,
}
# Who may import which library when it runs.
OWNERS = {
    "httpx": {"_connections", "_pool", "_resources._upstream"},
    "httpcore2": {"_pool"},
    "tenacity": {"_retry"},
    "cattrs": {"_tolerant"},
    "msgspec": {"_convert", "_tolerant"},
    "opentelemetry": {"_telemetry"},
    "sqlite3": {"_database"},
    "fastapi": set[str](),
    "rich": {"_cli"},
    "click": {"_cli"},
}
# Who may besides name its types: users hand them over, or get them.
NAMERS = {"httpx": {"_client", "_transport", "_resources.connectors"}}


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        name = name.removesuffix("__init__").removesuffix(".")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = _modules()
CLIENT = {name: tree for name, tree in MODULES.items() if not name.startswith("emulator")}


def _owner(name: str) -> str:
    return "_cli" if name.split(".", maxsplit=1)[0] == "_cli" else name


def _imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _own_imports(tree: ast.Module) -> set[str]:
    own: set[str] = set()
    for name in _imports(tree):
        if name == "pandium" or name.startswith("pandium."):
            path = name.removeprefix("pandium").removeprefix(".")
            while path and path not in MODULES:
                path = path.rpartition(".")[0]
            own.add(path)
    return own


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _libraries(tree: ast.Module, *, for_types: bool) -> set[str]:
    nodes = [node for node in tree.body if _is_for_types(node) is for_types]
    return {name.split(".")[0] for node in nodes for name in _imports(node)}


@pytest.mark.parametrize("name", sorted(CLIENT))
def test_imports_point_downwards(name: str) -> None:
    """A module of the client imports from smaller layers alone."""
    mine = LAYERS[_owner(name)]
    for other in _own_imports(CLIENT[name]):
        if _owner(name) == "_cli" and (other.startswith("emulator") or _owner(other) == "_cli"):
            continue
        assert LAYERS[_owner(other)] < mine, f"{name or 'pandium'} imports {other}"


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(CLIENT)))
def test_the_emulator_shares_nothing_with_the_client(name: str) -> None:
    """The emulator imports only itself, so that it is an independent reading of the API."""
    assert all(other.startswith("emulator") for other in _own_imports(MODULES[name]))


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_library_has_one_owner(library: str) -> None:
    """A library that could be changed for another is imported where it belongs alone."""
    users, namers = (
        {
            _owner(name)
            for name, tree in CLIENT.items()
            if library in _libraries(tree, for_types=for_types)
        }
        for for_types in (False, True)
    )
    assert users <= OWNERS[library]
    assert namers <= OWNERS[library] | NAMERS.get(library, set())


def test_the_table_names_no_module_that_is_gone() -> None:
    """Each module of the table exists."""
    assert set(LAYERS) <= set(MODULES)


def test_the_drawing_shows_the_modules_as_they_are() -> None:
    """The picture in docs/architecture.md is what its script draws now."""
    docs = Path(__file__).parents[2] / "docs"
    command = [sys.executable, str(docs / "draw_modules.py")]
    drawn = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout
    assert drawn == (docs / "images" / "modules.svg").read_text()


def test_no_async_generator_yields_inside_a_task_group() -> None:
    """An async generator that suspends inside a task group would break cancellation."""
    for name, tree in CLIENT.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncWith) and "create_task_group" in ast.dump(node):
                assert not any(isinstance(inner, ast.Yield) for inner in ast.walk(node)), name
