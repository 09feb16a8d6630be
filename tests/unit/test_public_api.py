"""What users import, and by which names."""

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
from pandium import AsyncPandium, Retry, RunResult, emulator, errors, models

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType

SOURCE = Path(pandium.__file__)
DEPENDENCIES = {
    *("anyio", "attr", "attrs", "msgspec", "pandium"),
    "typing_extensions",  # of msgspec
}


@pytest.mark.parametrize("module", [pandium, errors, models])
def test_all_names_what_is_there(module: object) -> None:
    """`__all__` is sorted, complete and true."""
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert names == sorted(names, key=lambda name: (not name[0].isupper(), name))
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name)


def test_every_import_of_the_package_is_exported() -> None:
    """The package defines nothing: each name that it imports is one that users may import."""
    tree = ast.parse(SOURCE.read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(pandium.__all__)


def test_every_error_is_at_the_top() -> None:
    """All errors can be imported from the package itself."""
    assert set(errors.__all__) <= set(pandium.__all__)


@pytest.mark.parametrize("name", pandium.__all__)
def test_names_show_where_users_import_them(name: str) -> None:
    """No private module shows in a traceback or a repr of a public class."""
    value = getattr(pandium, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert getattr(importlib.import_module(value.__module__), name) is value
        assert "._" not in value.__module__


def test_values_pickle_by_their_public_names() -> None:
    """What users keep can be pickled."""
    for value in (Retry(), RunResult("1", None, None, 2, 3.0)):
        assert pickle.loads(pickle.dumps(value)) == value


def test_public_classes_have_docstrings() -> None:
    """Each public class has a docstring. Those of operations are tested in tests/docs."""
    for name in pandium.__all__:
        value = getattr(pandium, name)
        if inspect.isclass(value):
            assert value.__doc__, name


def _docstrings() -> Iterator[tuple[str, str]]:
    for module in (pandium, models, errors, emulator):
        yield module.__name__, module.__doc__ or ""
    for value in _public_values():
        if inspect.isclass(value):
            yield value.__qualname__, value.__dict__.get("__doc__") or ""
        for name, function in _functions_of(value):
            yield name, inspect.getdoc(function) or ""


def test_docstrings_have_no_roles() -> None:
    """No public docstring holds markup that neither `help` nor the site can show."""
    found = dict(_docstrings())
    assert len(found) > 200, "they were found"
    assert [name for name, text in found.items() if re.search(r":[a-z:]+:`", text)] == []


def test_fields_end_a_docstring() -> None:
    """Nothing follows the fields of a public docstring: the site takes it for the last one's."""
    fields = re.compile(r"^ *:(?:raises|param|ivar|cvar) .*?\n\n.*?\S", re.DOTALL | re.MULTILINE)
    assert [name for name, text in _docstrings() if fields.search(text)] == []


def test_every_field_of_a_model_is_described() -> None:
    """The docstring of a model says of each of its fields, in their order, what it is."""
    for name in models.__all__:
        cls = getattr(models, name)
        is_enum = issubclass(cls, Enum)
        fields = [one.name for one in (cls if is_enum else attrs.fields(cls))]
        assert re.findall(r":[ic]var (\w+): \S", cls.__doc__) == fields, name


# What a signature may say of JSON: that something is an object or an array of it; or, in these
# places, that it is any JSON at all.
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
    # The emulator's: what a handler answers for another system.
    "Connectors.handler_of(return)",
    "Connectors.handlers(return)",
    "Connectors.register(handler)",
    "UpstreamFailure.__init__(data)",
}


def _public_values() -> Iterator[Any]:
    for module in (pandium, models, errors, emulator):
        yield from (getattr(module, name) for name in module.__all__)
    client = AsyncPandium("key")
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
    """Find what a module calls by a name of its own, so that no name hides an `Any`."""
    found: dict[str, str] = {}
    for path in SOURCE.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, ast.unparse(node.value))
            elif isinstance(node, ast.AnnAssign) and node.value and "TypeAlias" in ast.dump(node):
                found[ast.unparse(node.target)] = ast.unparse(node.value)
    return {name: text for name, text in found.items() if name[0].isupper() and len(name) > 1}


def _spelt_out(annotation: Any, aliases: dict[str, str]) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    for _ in range(3):  # an alias may name another one
        text = re.sub(r"\b[A-Za-z_]\w*\b", lambda word: aliases.get(word[0], word[0]), text)
    return re.sub(r"\b(typing|collections\.abc|builtins)\.", "", text)


def test_any_is_json_and_nothing_else() -> None:
    """No public signature says `Any` but of JSON: objects, arrays, and the places listed here."""
    aliases = _aliases()
    annotations = dict(_annotations())
    assert len(annotations) > 300, "they were found"
    found = {
        place
        for place, annotation in annotations.items()
        if re.search(r"\bAny\b", JSON_OBJECTS.sub("JSON", _spelt_out(annotation, aliases)))
    }
    assert found == ANY_JSON


def test_public_functions_are_annotated() -> None:
    """Each argument and result of a public function has a type."""
    for value in _public_values():
        for name, function in _functions_of(value):
            signature = inspect.signature(function)
            for argument in list(signature.parameters.values())[inspect.isclass(value) :]:
                assert argument.annotation is not argument.empty, f"{name}({argument.name})"
            assert signature.return_annotation is not signature.empty, name


def _brought_by(statement: str, *, after: str = "pass") -> set[str]:
    code = (
        f"import sys; {after}; before = set(sys.modules); {statement}; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_what_it_must() -> None:
    """An import brings neither what is optional nor what comes later: httpx, cattrs, tenacity."""
    # anyio imports sniffio where it finds it.
    assert _brought_by("from pandium import *") <= DEPENDENCIES | {"sniffio"}


def test_a_new_client_brings_httpx_alone() -> None:
    """A client that has sent nothing yet has imported httpx, and no pool."""
    # httpx and anyio import what they find (click, rich, sniffio), which is their own affair.
    new = _brought_by("pandium.AsyncPandium('key')", after="import httpx, pandium")
    assert new <= DEPENDENCIES | {"sniffio"}


def test_the_version_is_that_of_the_distribution() -> None:
    """The version stands in one place."""
    assert pandium.__version__ == version("pandium")


def test_the_package_is_typed() -> None:
    """Type checkers read the annotations of the installed package."""
    assert (SOURCE.parent / "py.typed").exists()
