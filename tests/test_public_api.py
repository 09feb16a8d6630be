"""What users import, and by which names."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pickle
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import pandium
from pandium import AsyncPandium, Completed, Retry, errors, models

SOURCE = Path(pandium.__file__)
DEPENDENCIES = {
    *("anyio", "attr", "attrs", "cattrs", "msgspec", "pandium", "tenacity"),
    "typing_extensions",  # of older cattrs
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
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pandium")
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
    for value in (Retry(), Completed("1", None, None, 2, 3.0)):
        assert pickle.loads(pickle.dumps(value)) == value


def test_public_things_have_docstrings() -> None:
    """Each public class and method says what it is for."""
    for name in pandium.__all__:
        value = getattr(pandium, name)
        if inspect.isclass(value):
            assert value.__doc__, name
    for resource in AsyncPandium.__annotations__:
        owner = inspect.getmodule(getattr(AsyncPandium("key"), resource))
        assert owner is not None
        cls = type(getattr(AsyncPandium("key"), resource))
        for name, method in vars(cls).items():
            if not name.startswith("_") and callable(method):
                assert "Source:" in (method.__doc__ or "") or resource == "runs", (resource, name)


def test_importing_the_package_imports_nothing_optional() -> None:
    """What an extra brings is imported by those who use it alone, whatever name is used."""
    # httpx and httpcore2 import what they find (click, rich, trio), which is their own affair.
    code = (
        "import sys, httpx, httpcore2; before = set(sys.modules);"
        "from pandium import *;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(*sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert set(done.stdout.split()) <= DEPENDENCIES


def test_the_version_is_that_of_the_distribution() -> None:
    """The version stands in one place."""
    assert pandium.__version__ == version("pandium")


def test_the_package_is_typed() -> None:
    """Type checkers read the annotations of the installed package."""
    assert (SOURCE.parent / "py.typed").exists()
