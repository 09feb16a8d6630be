"""Read any JSON that can be read at all, and name the place where it cannot; the user of cattrs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, get_origin

import attrs
import msgspec
from cattrs import transform_error
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import make_converter

from pandium import models
from pandium.errors import DecodeError

if TYPE_CHECKING:
    from enum import Enum

__all__ = ["Tolerant"]

Hook = Callable[..., Any]

_JSON_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    NoneType: "null",
}


class Tolerant:
    """A converter for `values`; `renamed` has the fields of each that the API names otherwise."""

    def __init__(self, values: Collection[type], renamed: Mapping[type, Mapping[str, str]]) -> None:
        self._values = values
        self._renamed = renamed
        self._converter = make_converter()
        self._register_plain()
        self._register_models()

    def structure(self, value: Any, cls: Any) -> Any:
        """
        Make a model, or a list of models, of decoded JSON.

        :raises DecodeError: with the path to what cannot be read.
        """
        try:
            return self._converter.structure(value, cls)
        except Exception as error:  # noqa: BLE001 - cattrs raises whatever a hook raises, and groups
            first, *others = transform_error(error, "", _describe)
        text, _, path = first.rpartition(" @ ")
        path = self._with_api_names(path.removeprefix("."))
        where = f"{path}: " if path else ""
        more = f" (and {len(others)} more)" if others else ""
        raise DecodeError(f"the answer cannot be read: {where}{text}{more}", path=path)

    def unstructure(self, model: object) -> Any:
        """Make a model plain, with the API's own names; msgspec does the rest."""
        return self._converter.unstructure(model)

    def _register_plain(self) -> None:
        converter = self._converter
        for cls in (int, str, bool):
            converter.register_structure_hook(cls, _hook_exactly(cls))
        for enum in (models.RunMode, models.IntegrationType, models.ReleaseChannel):
            # One by one: as subclasses of str they would get its hook.
            converter.register_structure_hook(enum, _structure_enum)
        converter.register_structure_hook(float, _structure_float)
        converter.register_structure_hook(datetime, _structure_datetime)
        converter.register_structure_hook_func(_is_a(dict), _hook_exactly(dict))

    def _register_models(self) -> None:
        register_factory: Any = self._converter.register_structure_hook_factory
        register_factory(_is_a(list), _hook_list)
        register_factory(lambda t: t in self._values, self._hook_model)
        for model in self._renamed:
            hook: Hook = make_dict_unstructure_fn(model, self._converter, **self._overrides(model))
            self._converter.register_unstructure_hook(model, hook)

    def _hook_model(self, cls: Any, converter: Any) -> Hook:
        structure = make_dict_structure_fn(cls, converter, **self._overrides(cls))
        api_names = self._renamed.get(cls, {})
        required = {
            api_names.get(field.name, field.name)
            for field in attrs.fields(cls)
            if field.default is attrs.NOTHING
        }

        def structure_model(value: Any, _: Any) -> Any:
            if type(value) is not dict:
                raise _refuse("an object", value)
            # A null where the vendor documents a default means that default.
            present: Any = {k: v for k, v in value.items() if v is not None or k in required}
            return structure(present, cls)

        return structure_model

    def _overrides(self, cls: type) -> Any:
        api_names = self._renamed.get(cls, {})
        return {python: override(rename=api) for python, api in api_names.items()}

    def _with_api_names(self, path: str) -> str:
        for names in self._renamed.values():
            for python, api in names.items():
                path = re.sub(rf"\b{python}\b", api, path)
        return path


def _refuse(expected: str, value: object) -> TypeError:
    return TypeError(f"expected {expected}, got {_JSON_NAMES[type(value)]}")


def _hook_exactly(cls: type) -> Hook:
    # JSON's types are taken at their word: "5" is no 5 and "false" is no False.
    def structure(value: Any, _: Any) -> Any:
        if type(value) is cls:
            return value
        raise _refuse(_JSON_NAMES[cls], value)

    return structure


def _structure_float(value: Any, _: Any) -> float:
    if type(value) not in (float, int):
        raise _refuse("a number", value)
    return float(value)


def _structure_enum(value: Any, cls: Any) -> Enum:
    if type(value) is not str:
        raise _refuse("a string", value)
    return cls(value)  # type: ignore[no-any-return]  # cls is an Enum


def _structure_datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str:
        raise _refuse("a date-time", value)
    try:
        stamp = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        stamp = _parse_iso(value)
    return stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)


def _parse_iso(value: str) -> datetime:
    # Wider than RFC 3339: no seconds, no time at all, basic format.
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise TypeError("expected a date-time, got another string") from None


def _hook_list(cls: Any, converter: Any) -> Hook:
    structure = list_structure_factory(cls, converter)

    def structure_list(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise _refuse("an array", value)
        return structure(value, cls)

    return structure_list


def _is_a(origin: type) -> Callable[[Any], bool]:
    return lambda cls: get_origin(cls) is origin


def _describe(error: BaseException, _: type | None) -> str:
    return "required field missing" if isinstance(error, KeyError) else str(error)
