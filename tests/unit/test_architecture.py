"""Every module's imports follow the layers described in docs/architecture.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pandium

SOURCE = Path(pandium.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"

# The top-level modules and folders of the client, and the layer of each.
LAYERS: dict[str, int] = {
    "_version": 0,
    "models": 0,
    "_blocking_file": 0,
    "_clock": 0,
    "_daemon_executor": 0,
    "_background": 1,
    "_cancellation": 0,
    "_redaction": 0,
    "_run_log": 0,
    "errors": 1,
    "_validation": 1,
    "_user_code": 2,
    "_config": 3,
    "postgres": 3,
    "_serialization": 3,
    "_http": 3,
    "_listing": 3,
    "_waiting": 3,
    "_transport": 4,
    "_bulk": 4,
    "webhooks": 4,
    "_resources": 5,
    "_client": 6,
    "_sync": 7,
    "": 8,
    "_mcp": 9,
    "_schema": 9,
    "_cli": 10,
}
# The layers of the emulator's folders and top-level modules.
EMULATOR_LAYERS: dict[str, int] = {
    "state": 0,
    "runs": 1,
    "connectors": 2,
    "network": 2,
    "api": 3,
    "testing": 3,
    "control": 4,
    "_emulator": 5,
    "": 6,
    "__main__": 6,
}
# The modules that may import a third-party library at run time.
OWNERS = {
    "httpx": {"_http", "_resources.connector_transport", "_sync.httpx_transport"},
    "httpx2": set[str](),
    "httpcore": {"_http.pool"},
    "httpcore2": {"_http.pool"},
    "tenacity": {"_transport.retry", "_waiting.policy"},
    "cattrs": {"_serialization.lenient"},
    "msgspec": {"_serialization"},
    "opentelemetry": {"_transport.telemetry"},
    "sqlite3": {"_bulk.sqlite_connection"},
    "psycopg": {"postgres", "_bulk.postgres_connection"},
    "fastapi": set[str](),
    "rich": {"_cli"},
    "click": {"_cli"},
    "mcp": {"_mcp.server", "_mcp.tool"},
}
# The modules that may also import a library for annotations: users pass or receive its types.
ANNOTATORS = {
    "httpx": {"_client", "_sync.sync_client", "_transport", "_resources.connectors"},
    "httpx2": {"_resources.connector_transport", "_sync.httpx_transport"},
    "sqlite3": {"_bulk.file_identity"},
}
# The same thing in two places: a command and its resource, or errors and their translation.
SHARED_BASENAMES = {
    *("__init__", "errors", "clock"),
    *("builds", "connectors", "integrations", "releases", "runs", "tenants"),
    *("demo", "emulator", "journal"),
}

# The client and the emulator deliberately have separate classes for the API's objects.
SHARED_CLASSES = {
    *pandium.models.__all__,
    "ValidationError",
    "RunFailed",  # an error and a notification
    "Clock",
    "Builds",
    "Connectors",
    "Runs",
}


def _read_modules() -> dict[str, ast.Module]:
    modules = {}
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        name = name.removesuffix("__init__").removesuffix(".")
        modules[name] = ast.parse(path.read_text())
    return modules


MODULES = _read_modules()
CLIENT = {name: tree for name, tree in MODULES.items() if not name.startswith("emulator")}
EMULATOR = {name: tree for name, tree in MODULES.items() if name.startswith("emulator")}


def _emulator_part(module: str) -> str:
    """Return the emulator's package or top-level module that contains a module."""
    return _unit(module.removeprefix("emulator").removeprefix("."))


def _unit(module: str) -> str:
    """Return the top-level module or folder that contains a module."""
    return module.split(".", maxsplit=1)[0]


def _imported_names(tree: ast.AST) -> set[str]:
    """Return every imported name, including imports inside functions and for annotations."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _imported_modules(tree: ast.Module) -> set[str]:
    """Return the modules of this package that a module imports."""
    modules: set[str] = set()
    for name in _imported_names(tree):
        if name == "pandium" or name.startswith("pandium."):
            path = name.removeprefix("pandium").removeprefix(".")
            while path and path not in MODULES:
                path = path.rpartition(".")[0]
            modules.add(path)
    return modules


def _is_for_annotations(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _libraries(tree: ast.Module, *, for_annotations: bool) -> set[str]:
    nodes = [node for node in tree.body if _is_for_annotations(node) is for_annotations]
    return {name.split(".")[0] for node in nodes for name in _imported_names(node)}


def _importers(library: str, *, for_annotations: bool) -> set[str]:
    return {
        name
        for name, tree in CLIENT.items()
        if library in _libraries(tree, for_annotations=for_annotations)
    }


def _is_within(module: str, owners: set[str]) -> bool:
    return any(module == owner or module.startswith(f"{owner}.") for owner in owners)


@pytest.mark.parametrize("name", sorted(CLIENT))
def test_imports_point_to_lower_layers(name: str) -> None:
    """A module imports only from its own folder or from lower layers."""
    unit = _unit(name)
    for imported in _imported_modules(CLIENT[name]):
        target = _unit(imported)
        is_allowed = target == unit or (unit == "_cli" and target == "emulator")
        assert is_allowed or LAYERS[target] < LAYERS[unit], (
            f"{name or 'pandium'} (layer {LAYERS[unit]}) imports {imported or 'pandium'}"
            f" (layer {LAYERS[target]})"
        )


def test_no_module_imports_itself_through_others() -> None:
    """There is no import cycle anywhere in the package, not even for annotations."""
    graph = {name: _imported_modules(tree) - {name} for name, tree in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' → '.join(error.args[1])}")


def test_no_folder_imports_itself_through_others() -> None:
    """There is no import cycle between folders."""
    graph: dict[str, set[str]] = {}
    for name, tree in MODULES.items():
        targets = {_unit(imported) for imported in _imported_modules(tree)}
        graph.setdefault(_unit(name), set()).update(targets - {_unit(name)})
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", sorted(EMULATOR))
def test_the_emulator_shares_no_code_with_the_client(name: str) -> None:
    """The emulator imports only itself, so it is an independent interpretation of the API."""
    assert all(_unit(imported) == "emulator" for imported in _imported_modules(EMULATOR[name]))


@pytest.mark.parametrize("name", sorted(EMULATOR))
def test_imports_of_the_emulator_point_to_lower_layers(name: str) -> None:
    """A module of the emulator imports from its own package, or from packages of lower layers."""
    part = _emulator_part(name)
    targets = {_emulator_part(imported) for imported in _imported_modules(EMULATOR[name])}
    for target in targets - {part}:
        assert EMULATOR_LAYERS[target] < EMULATOR_LAYERS[part], f"{name} imports {target}"


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_library_has_one_owner(library: str) -> None:
    """A third-party library is imported only where the table permits it."""
    users = _importers(library, for_annotations=False)
    annotators = _importers(library, for_annotations=True)
    assert {name for name in users if not _is_within(name, OWNERS[library])} == set()
    allowed = OWNERS[library] | ANNOTATORS.get(library, set())
    assert {name for name in annotators if not _is_within(name, allowed)} == set()


def test_the_tables_name_only_what_exists() -> None:
    """The tables in this file contain exactly the existing modules and folders."""
    assert set(LAYERS) == {_unit(name) for name in CLIENT}
    assert set(EMULATOR_LAYERS) == {_emulator_part(name) for name in EMULATOR}
    for owners in (*OWNERS.values(), *ANNOTATORS.values()):
        assert owners <= set(MODULES)


def test_no_two_classes_share_a_name() -> None:
    """Each class name is unique in the package, with or without an underscore."""
    names = Counter(
        node.name.lstrip("_")
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    shared = {name for name, count in names.items() if count > 1}
    assert shared - SHARED_CLASSES == set()


def test_no_two_unrelated_modules_share_a_name() -> None:
    """A module name occurs once, unless it is the same thing in two places."""
    stems = [path.stem for path in SOURCE.rglob("*.py")]
    basenames = Counter(stem if stem.startswith("__") else stem.lstrip("_") for stem in stems)
    shared = {name for name, count in basenames.items() if count > 1}
    assert shared == SHARED_BASENAMES


def test_each_folder_states_its_purpose_and_what_flows_through_it() -> None:
    """The docstring of each folder is one sentence of purpose, then what goes in and comes out."""
    for name, tree in MODULES.items():
        path = SOURCE / name.replace(".", "/") / "__init__.py"
        if name and path.exists():
            docstring = ast.get_docstring(tree) or ""
            purpose, _, flow = docstring.partition("\n\n")
            is_one_sentence = purpose.endswith(".") and ". " not in purpose and "\n" not in purpose
            assert is_one_sentence, f"{name}/__init__.py: {purpose!r}"
            assert flow.endswith("."), f"{name}/__init__.py: {flow!r}"


@pytest.mark.parametrize("package", sorted(set(EMULATOR_LAYERS) - {"", "__main__", "_emulator"}))
def test_the_packages_of_the_emulator_contain_only_their_purpose(package: str) -> None:
    """The `__init__` of a package is a docstring without code, so importing it imports nothing."""
    assert len(MODULES[f"emulator.{package}"].body) == 1


@pytest.mark.parametrize(
    ("arguments", "image"),
    [([], "modules.svg"), (["emulator"], "emulator-modules.svg")],
)
def test_the_drawings_are_up_to_date(arguments: list[str], image: str) -> None:
    """The drawings in docs/images are what docs/draw_modules.py draws now."""
    command = [sys.executable, str(DOCS / "draw_modules.py"), *arguments]
    drawn = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout
    assert drawn == (DOCS / "images" / image).read_text()


def test_no_async_generator_yields_inside_a_task_group() -> None:
    """No async generator yields inside a task group, which would break cancellation (PEP 789)."""
    for name, tree in CLIENT.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncWith) and "create_task_group" in ast.dump(node):
                assert not any(isinstance(inner, ast.Yield) for inner in ast.walk(node)), name


def test_each_suppression_has_a_reason() -> None:
    """Each comment that silences a tool states the rule and, on the same line, the reason."""
    suppression = re.compile(r"# (noqa|type: ignore|pyright: ignore|pragma: no)")
    rule = r"(noqa: [A-Z0-9, ]+|(type|pyright): ignore\[[\w, -]+\]|pragma: no (cover|branch))"
    reason = re.compile(rf"# {rule} ?( -| #) \S")
    lines = [
        (path.name, line.strip())
        for path in SOURCE.rglob("*.py")
        for line in path.read_text().splitlines()
        if suppression.search(line)
    ]
    assert len(lines) > 100, "the search found them"
    assert [line for line in lines if not reason.search(line[1])] == []
