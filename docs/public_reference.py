"""
A griffe extension that shows the package in the reference as users see it.

Griffe reads the source without running it. This extension adds what it cannot see: the constructors
of attrs classes and of the emulator's records, the methods that take the fields of a record, and
the operations as attributes of the client. It also replaces private aliases in signatures by the
types that they stand for.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PublicReference"]

_CLIENTS = ("AsyncPandium", "Pandium")
_ATTRS = {"attrs.frozen", "attrs.define"}
_RECORD = "pandium.emulator.state.rules.Record"
_FIELD_FUNCTIONS = {"attrs.field", "pydantic.Field"}
_EMPTY = {"dict": "{}", "list": "[]"}
_ALIAS_NAME = re.compile(r"[A-Z]+[a-z]\w*")
_POSITIONAL = griffe.ParameterKind.positional_or_keyword
_KEYWORD_ONLY = griffe.ParameterKind.keyword_only


class PublicReference(griffe.Extension):
    """Completes the package after it has been loaded."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Add the constructor of an attrs class or of a record."""
        arguments = list(filter(_is_argument, cls.attributes.values()))
        if (
            arguments
            and "__init__" not in cls.members
            and (_is_attrs_class(cls) or _is_record(cls))
        ):
            cls.set_member("__init__", _constructor(cls, arguments))

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Complete the package "pandium"."""
        if pkg.name != "pandium":
            return
        for name in filter(pkg.members.__contains__, _CLIENTS):
            _add_operations(pkg[name].final_target)
        for function in _members(pkg, griffe.Function):
            _take_fields(function)
        for annotated in list(_annotated(pkg)):
            annotated.annotation = _expand(annotated.annotation, pkg)


def _is_attrs_class(cls: griffe.Class) -> bool:
    return bool(_ATTRS & {decorator.callable_path for decorator in cls.decorators})


def _is_record(cls: griffe.Class) -> bool:
    return any(getattr(base, "canonical_path", base) == _RECORD for base in cls.bases)


def _is_argument(field: griffe.Attribute) -> bool:
    """Return whether an attribute is an argument of the constructor that users pass."""
    is_instance_field = field.annotation is not None and "ClassVar" not in str(field.annotation)
    return is_instance_field and not field.name.startswith("_") and "property" not in field.labels


def _constructor(cls: griffe.Class, arguments: list[griffe.Attribute]) -> griffe.Function:
    is_keyword_only = _is_record(cls)
    parameters = [
        griffe.Parameter(
            field.name,
            annotation=field.annotation,
            kind=_KEYWORD_ONLY if is_keyword_only else _POSITIONAL,
            default=_default(field.value),
        )
        for field in arguments
    ]
    owner = griffe.Parameter("self", kind=_POSITIONAL)
    return griffe.Function("__init__", parameters=griffe.Parameters(owner, *parameters), parent=cls)


def _default(value: Any) -> Any:
    """Return the default of a field. It may be the value of a function such as `attrs.field`."""
    if not isinstance(value, griffe.ExprCall) or value.canonical_path not in _FIELD_FUNCTIONS:
        return value
    given = {one.name: one.value for one in value.arguments if isinstance(one, griffe.ExprKeyword)}
    factory = given.get("factory", given.get("default_factory"))
    return given.get("default") if factory is None else _EMPTY.get(str(factory), "...")


def _add_operations(client: griffe.Class) -> None:
    """Let each annotated attribute of a client lead to the class of its operations."""
    for name, attribute in list(client.attributes.items()):
        if not name.startswith("_") and isinstance(attribute.annotation, griffe.ExprName):
            target = attribute.annotation.canonical_path
            client.set_member(name, griffe.Alias(name, target, parent=client))


def _take_fields(function: griffe.Function) -> None:
    """Replace the parameter of a method with the decorator `takes_fields` by its fields."""
    for decorator in function.decorators:
        call = decorator.value
        if isinstance(call, griffe.ExprCall) and str(call.function) == "takes_fields":
            record, positional = call.arguments
            model = function.module[str(record)].final_target
            owner, *given = model.members["__init__"].parameters
            first = str(positional).strip("'\"")
            given.sort(key=lambda parameter: parameter.name != first)
            kinds = [_POSITIONAL, *[_KEYWORD_ONLY] * len(given)]
            arguments = [
                griffe.Parameter(
                    one.name, annotation=one.annotation, kind=kind, default=one.default
                )
                for one, kind in zip(given, kinds, strict=False)
            ]
            function.parameters = griffe.Parameters(owner, *arguments)


def _members(parent: griffe.Object, kind: type[Any]) -> Iterator[Any]:
    """Yield the members of a kind in a module and in its modules and classes."""
    for member in list(parent.members.values()):
        if isinstance(member, kind):
            yield member
        elif isinstance(member, griffe.Class | griffe.Module):
            yield from _members(member, kind)


def _annotated(pkg: griffe.Module) -> Iterator[griffe.Attribute | griffe.Parameter]:
    yield from _members(pkg, griffe.Attribute)
    for function in _members(pkg, griffe.Function):
        yield from function.parameters


def _expand(value: Any, pkg: griffe.Module) -> Any:
    """Return an annotation, or a part of one, with the values of private aliases in their place."""
    if isinstance(value, list):
        return [_expand(one, pkg) for one in value]
    if not isinstance(value, griffe.Expr):
        return value
    if isinstance(value, griffe.ExprName | griffe.ExprSubscript):
        if alias := _alias(value.canonical_path, pkg):
            return _expand(_value(alias, getattr(value, "slice", None)), pkg)
        if isinstance(value, griffe.ExprName):
            return value
        if value.canonical_path == "typing.Annotated":
            return _expand(value.slice.elements[0], pkg)  # type: ignore[union-attr]  # is a tuple
    parts = {field.name: _expand(getattr(value, field.name), pkg) for field in fields(value)}
    return replace(value, **parts)


def _alias(path: str, pkg: griffe.Module) -> griffe.Attribute | None:
    """Return the private type alias with a path, if it is one."""
    package, _, rest = path.partition(".")
    module, _, name = rest.rpartition(".")
    if package != pkg.name or not module or name in pkg["emulator"].exports:
        return None
    found = pkg[rest]
    if isinstance(found, griffe.Alias):
        return _alias(found.target_path, pkg)
    is_alias = isinstance(found, griffe.Attribute) and _ALIAS_NAME.fullmatch(name)
    return found if is_alias and found.parent.is_module else None


def _value(alias: griffe.Attribute, argument: Any) -> Any:
    """Return the type that an alias stands for, with the argument for its type variable."""
    text = str(alias.value)
    if text[0] in "\"'":
        text = ast.literal_eval(text)
    text = re.sub(r"[\"']?\b([A-Z])\b[\"']?", r"\1" if argument is None else str(argument), text)
    return griffe.get_expression(ast.parse(text, mode="eval").body, parent=alias.module)
