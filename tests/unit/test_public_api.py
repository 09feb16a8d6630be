"""The public names, their documentation and their annotations."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import subprocess
import sys
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import pandium
from pandium import AsyncPandium, Pandium, Retry, RunResult, emulator, errors, models, webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType

SOURCE = Path(pandium.__file__)
DEPENDENCIES = {
    *("anyio", "attr", "attrs", "pandium"),
}


@pytest.mark.parametrize("module", [pandium, errors, models, webhooks])
def test_all_is_sorted_and_correct(module: object) -> None:
    """``__all__`` is sorted, and each of its names exists exactly once."""
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=lambda name: (not name[0].isupper(), name))
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name)


def _imports_for_type_checkers() -> dict[str, str]:
    """Return the module from which ``pandium/__init__.py`` imports each name."""
    return {
        alias.name: node.module or ""
        for block in ast.parse(SOURCE.read_text()).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_import_of_the_package_is_exported() -> None:
    """The package exports every name that it imports for type checkers, and its version."""
    assert {*_imports_for_type_checkers(), "__version__"} == set(pandium.__all__)


def test_names_come_from_the_same_modules_at_run_time() -> None:
    """At run time, each name comes from the module from which type checkers import it."""
    imports = _imports_for_type_checkers()
    modules = {name: module for name, module in imports.items() if module != "pandium"}
    assert modules == pandium._MODULES
    assert list(pandium._MODULES) == [name for name in pandium.__all__ if name in modules]
    assert imports.keys() - modules.keys() == {"errors", "models"}


def test_every_error_is_exported() -> None:
    """All errors can be imported from the package itself."""
    assert set(errors.__all__) <= set(pandium.__all__)


@pytest.mark.parametrize("name", pandium.__all__)
def test_public_names_have_public_modules(name: str) -> None:
    """Tracebacks and reprs show the module from which users import a name."""
    value = getattr(pandium, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert getattr(importlib.import_module(value.__module__), name) is value
        assert "._" not in value.__module__


def test_values_can_be_pickled() -> None:
    """Values that users may keep can be pickled, and loaded in a process that imported nothing."""
    for value in (Retry(), RunResult("1", None, None, 2, 3.0)):
        data = pickle.dumps(value)
        assert pickle.loads(data) == value
        assert b"pandium._" not in data, "the layout of the package may change"
        code = f"import pickle; print(repr(pickle.loads({data!r})).replace(' ', ''))"
        assert _run(code) == {repr(value).replace(" ", "")}


def test_public_classes_have_docstrings() -> None:
    """Each public class has a docstring. Operations are tested in tests/docs."""
    for name in pandium.__all__:
        value = getattr(pandium, name)
        if inspect.isclass(value):
            assert value.__doc__, name


def _docstrings() -> Iterator[tuple[str, str]]:
    for module in (pandium, models, errors, webhooks, emulator):
        yield module.__name__, module.__doc__ or ""
    for value in _public_values():
        if inspect.isclass(value):
            yield value.__qualname__, value.__dict__.get("__doc__") or ""
        for name, function in _functions_of(value):
            yield name, inspect.getdoc(function) or ""


def test_docstrings_have_no_sphinx_roles() -> None:
    """Public docstrings contain no Sphinx roles, which ``help()`` and the site cannot render."""
    found = dict(_docstrings())
    assert len(found) > 200, "the search found them"
    assert [name for name, text in found.items() if re.search(r":[a-z:]+:`", text)] == []


def test_fields_are_the_end_of_a_docstring() -> None:
    """The fields end a docstring, because the site would add later text to the last field."""
    fields = re.compile(r"^ *:(?:raises|param|ivar|cvar) .*?\n\n.*?\S", re.DOTALL | re.MULTILINE)
    assert [name for name, text in _docstrings() if fields.search(text)] == []


def test_every_field_of_a_model_is_documented() -> None:
    """A model's docstring documents each of its fields, in order."""
    for name in models.__all__:
        cls = getattr(models, name)
        is_enum = issubclass(cls, Enum)
        fields = [field.name for field in (cls if is_enum else attrs.fields(cls))]
        assert re.findall(r":[ic]var (\w+): \S", cls.__doc__) == fields, name


# Signatures describe JSON as an object or an array. Only these may use Any for arbitrary JSON.
JSON_OBJECTS = re.compile(r"(dict|Mapping)\[str, Any\]|(list|Sequence)\[Any\]")
ANY_JSON = {
    "APIError.__init__(body)",
    "AsyncPandium.request(json)",
    "AsyncPandium.request(return)",
    "Builds.create(return)",
    "ConnectorError.data",
    "Connectors.call(return)",
    "Connectors.disconnect(return)",
    "Connectors.soap(return)",
    "Connectors.xml(return)",
    "Tenants.update(changes)",
    # The synchronous client has the same operations.
    "Pandium.request(json)",
    "Pandium.request(return)",
    "SyncBuilds.create(return)",
    "SyncConnectors.call(return)",
    "SyncConnectors.disconnect(return)",
    "SyncConnectors.soap(return)",
    "SyncConnectors.xml(return)",
    "SyncTenants.update(changes)",
    # In the emulator, these are the responses that handlers return for another system.
    "Connectors.handler_of(return)",
    "Connectors.handlers(return)",
    "Connectors.register(handler)",
    "UpstreamFailure.__init__(data)",
}


def _public_values() -> Iterator[Any]:
    for module in (pandium, models, errors, emulator):
        yield from (getattr(module, name) for name in module.__all__)
    for client in (AsyncPandium("key"), Pandium("key")):
        yield from (type(getattr(client, name)) for name in AsyncPandium.__annotations__)


def _functions_of(value: Any) -> Iterator[tuple[str, FunctionType]]:
    if inspect.isfunction(value):
        yield value.__name__, value
    if inspect.isclass(value) and value.__module__.startswith("pandium"):
        for name, member in vars(value).items():
            function = getattr(member, "fget", getattr(member, "__func__", member))
            if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
                yield f"{value.__name__}.{name}", inspect.unwrap(function)


def _annotations() -> Iterator[tuple[str, Any]]:
    for value in _public_values():
        for name, function in _functions_of(value):
            for argument, annotation in inspect.get_annotations(function).items():
                yield f"{name}({argument})", annotation
        if inspect.isclass(value):
            for name, annotation in inspect.get_annotations(value).items():
                yield f"{value.__name__}.{name}", annotation


def _aliases() -> dict[str, str]:
    """Return the type aliases in all modules, because each one could contain ``Any``."""
    found: dict[str, str] = {}
    for path in SOURCE.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, ast.unparse(node.value))
            elif isinstance(node, ast.AnnAssign) and node.value and "TypeAlias" in ast.dump(node):
                found[ast.unparse(node.target)] = ast.unparse(node.value)
    return {name: text for name, text in found.items() if name[0].isupper() and len(name) > 1}


def _expand_aliases(annotation: Any, aliases: dict[str, str]) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for _ in range(3):  # an alias may refer to another one
        text = re.sub(r"\b[A-Za-z_]\w*\b", lambda word: aliases.get(word[0], word[0]), text)
    return re.sub(r"\b(typing|collections\.abc|builtins)\.", "", text)


def test_any_means_json() -> None:
    """Public signatures use ``Any`` only for JSON."""
    aliases = _aliases()
    annotations = dict(_annotations())
    assert len(annotations) > 300, "the search found them"
    found = {
        location
        for location, annotation in annotations.items()
        if re.search(r"\bAny\b", JSON_OBJECTS.sub("JSON", _expand_aliases(annotation, aliases)))
    }
    assert found == ANY_JSON


def test_public_functions_are_annotated() -> None:
    """Each argument and result of a public function is annotated."""
    for value in _public_values():
        for name, function in _functions_of(value):
            signature = inspect.signature(function)
            for argument in list(signature.parameters.values())[inspect.isclass(value) :]:
                assert argument.annotation is not argument.empty, f"{name}({argument.name})"
            assert signature.return_annotation is not signature.empty, name


def _run(code: str) -> set[str]:
    """Run code in a new interpreter and return the words that it prints."""
    process = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return set(process.stdout.split())


def _modules_imported_by(statement: str, *, after: str = "pass") -> set[str]:
    return _run(
        f"import sys; {after}; before = set(sys.modules); {statement}; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(new - sys.stdlib_module_names))"
    )


def _own_modules_imported_by(statement: str) -> set[str]:
    """Return the modules of this package, without the emulator's, that a statement imports."""
    own = _run(f"import sys; {statement}; print(*sys.modules)")
    return {
        name.removeprefix("pandium.")
        for name in own
        if name.startswith("pandium") and not name.startswith("pandium.emulator")
    }


@pytest.mark.parametrize(
    ("statement", "modules"),
    [
        ("import pandium", {"pandium", "_version"}),
        ("from pandium import errors, PandiumError", {"pandium", "_version", "errors"}),
        ("import pandium.emulator", {"pandium", "_version"}),
        ("import pandium_pytest", {"pandium_pytest"}),
    ],
)
def test_names_are_imported_when_they_are_used(statement: str, modules: set[str]) -> None:
    """Importing the package, its errors, the emulator or the pytest plugin imports no client."""
    assert _own_modules_imported_by(statement) == modules


def test_an_emulator_that_answers_requests_has_not_imported_the_client() -> None:
    """An emulator starts, responds and stops without importing the client."""
    statement = (
        "import httpx; from pandium.emulator import Emulator; emulator = Emulator('demo');"
        "emulator.start(); url = emulator.url; headers = {'X-API-KEY': 'key'};"
        "httpx.get(f'{url}/v2/tenants', headers=headers).raise_for_status();"
        "httpx.get(f'{url}/_emulator/state').raise_for_status(); emulator.stop()"
    )
    assert _own_modules_imported_by(statement) == {"pandium", "_version"}


def test_parsing_a_notification_imports_no_client() -> None:
    """A service that receives notifications imports neither the client nor httpx."""
    statement = (
        'import sys; from pandium import webhooks; webhooks.parse(b\'{"event_type": "x"}\');'
        "assert 'httpx' not in sys.modules"
    )
    imported = {name.split(".")[0] for name in _own_modules_imported_by(statement)}
    assert imported.isdisjoint({"_client", "_http", "_resources", "_transport"})


def test_names_are_known_before_they_are_imported() -> None:
    """``dir(pandium)``, for completion, contains the names that have not been imported yet."""
    assert _run("import pandium; print(*dir(pandium))") >= set(pandium.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that does not exist is the usual error, with the name in its message."""
    with pytest.raises(AttributeError, match="module 'pandium' has no attribute 'AsynPandium'"):
        _ = pandium.AsynPandium  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'AsynPandium' from 'pandium'"):
        from pandium import AsynPandium  # type: ignore[attr-defined]  # noqa: F401, PLC0415


def test_a_dependency_that_does_not_fit_is_named() -> None:
    """If a module fails with an AttributeError, the ImportError has this error as its cause."""
    code = """
import sys, types
sys.modules["attrs"] = types.ModuleType("attrs")  # as an older version could be
try:
    from pandium import AsyncPandium
except ImportError as error:
    print(repr(error.__cause__).replace(" ", ""))
"""
    assert _run(code) == {"AttributeError(\"module'attrs'hasnoattribute'frozen'\")"}


def test_threads_may_use_a_name_for_the_first_time_at_once() -> None:
    """Threads that use the names for the first time at the same time get the same objects."""
    code = """
import pandium
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

barrier = Barrier(8)

def get(number):
    barrier.wait()
    names = pandium.__all__[number:] + pandium.__all__[:number]
    return {name: getattr(pandium, name) for name in names}

with ThreadPoolExecutor(8) as pool:
    first, *others = pool.map(get, range(0, 40, 5))
print(all(other == first for other in others))
"""
    assert _run(code) == {"True"}


def test_importing_the_package_imports_few_dependencies() -> None:
    """``import pandium`` imports no optional dependency and not httpx, cattrs or tenacity."""
    # anyio imports sniffio if it is installed.
    assert _modules_imported_by("from pandium import *") <= DEPENDENCIES | {"sniffio"}


@pytest.mark.parametrize("module", ["asyncio", "email", "http.client", "msgspec", "sqlite3", "ssl"])
def test_importing_the_package_imports_no_slow_module(module: str) -> None:
    """``import pandium`` imports no slow module that only requests or responses need."""
    code = (
        "import sys; before = set(sys.modules); import pandium; "
        f"sys.exit({module!r} in set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_a_new_client_imports_httpx_only() -> None:
    """Creating a client imports httpx, but not the connection pool."""
    # httpx and anyio also import click, rich and sniffio if they are installed.
    new = _modules_imported_by("pandium.AsyncPandium('key')", after="import httpx, pandium")
    assert new <= DEPENDENCIES | {"sniffio"}


def test_the_version_is_that_of_the_distribution() -> None:
    """The package and its distribution have the same version."""
    assert pandium.__version__ == version("pandium")


def test_the_package_is_typed() -> None:
    """The package has the ``py.typed`` marker, so type checkers use its annotations."""
    assert (SOURCE.parent / "py.typed").exists()
