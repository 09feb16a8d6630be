"""The errors: their base classes, messages and attributes, and how they are copied."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pandium
from pandium import _bulk, errors
from pandium.errors import Attempt, ErrorDetail
from pandium.models import TriggerStatus

# The documented hierarchy: each error and its direct base classes.
BASES: dict[str, tuple[type[BaseException], ...]] = {
    "PandiumError": (Exception,),
    "ConfigurationError": (errors.PandiumError, ValueError),
    "TransportError": (errors.PandiumError,),
    "ConnectFailed": (errors.TransportError,),
    "RequestTimeout": (errors.TransportError, TimeoutError),
    "ConnectionLost": (errors.TransportError,),
    "APIError": (errors.PandiumError,),
    "BadRequest": (errors.APIError,),
    "AuthenticationError": (errors.APIError,),
    "NotFound": (errors.APIError,),
    "ValidationError": (errors.APIError,),
    "RateLimited": (errors.APIError,),
    "ServerError": (errors.APIError,),
    "ConnectorError": (errors.APIError,),
    "DecodeError": (errors.PandiumError,),
    "DriftError": (errors.PandiumError,),
    "JournalError": (errors.PandiumError,),
    "UnusableJournal": (errors.JournalError, errors.ConfigurationError),
    "WaitTimeout": (errors.PandiumError, TimeoutError),
    "RunFailed": (errors.PandiumError,),
}
# Exceptions that the package itself catches, so that they never reach users.
INTERNAL_SIGNALS = {
    "FileLockedError",
    "Interruption",
    "LeaseExpiredError",
    "NotSentError",
    "UnreachableError",
    "UnsupportedRequestError",
    "UnreadableResponseError",
    "UserCodeError",
}
VALUE_CLASSES = [errors.Attempt, errors.ErrorDetail]
STATUS = TriggerStatus("Failed (Timeout)")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
OWN_ATTRIBUTES: dict[type[errors.PandiumError], dict[str, Any]] = {
    errors.APIError: {
        "status_code": 422,
        "message": "no such mode",
        "details": (ErrorDetail(("query", "mode", 0), "no such mode", "enum"),),
        "body": {"detail": [{"loc": ["query"]}]},
        "headers": {"x-request-id": "r1"},
        "retry_after": 1.5,
    },
    errors.DecodeError: {"path": "[3].status.auth"},
    errors.WaitTimeout: {"trigger_id": "t1", "last_status": STATUS, "polls": 9},
    errors.RunFailed: {"trigger_id": "t1", "status": STATUS},
}
COMMON_ATTRIBUTES: dict[str, Any] = {
    "method": "POST",
    "url": "https://api.example/v2/tenants/7/sync?mode=normal",
    "attempts": (Attempt(NOW, 0.25, "503"), Attempt(NOW, 0.5, "422")),
    "outcome_unknown": True,
    "resume_skip": 40,
}


def error_classes() -> list[type[errors.PandiumError]]:
    listed = [getattr(errors, name) for name in errors.__all__]
    return [value for value in listed if issubclass(value, BaseException)]


def own_attributes(cls: type[errors.PandiumError]) -> dict[str, Any]:
    return next((own for base, own in OWN_ATTRIBUTES.items() if issubclass(cls, base)), {})


def create_error(
    cls: type[errors.PandiumError], text: str = "something failed"
) -> errors.PandiumError:
    """Return an error with a value for each documented attribute."""
    construct: Any = cls
    error: errors.PandiumError = construct(text, **own_attributes(cls))
    for name, value in COMMON_ATTRIBUTES.items():
        setattr(error, name, value)
    if isinstance(error, errors.ConnectorError):
        error.data = {"upstream": ["no"]}
    return error


def attributes_of(error: errors.PandiumError) -> dict[str, Any]:
    names = [*COMMON_ATTRIBUTES, *own_attributes(type(error)), "args"]
    data = {"data": error.data} if isinstance(error, errors.ConnectorError) else {}
    return {name: getattr(error, name) for name in names} | data


CLASSES = error_classes()
EVERY_ERROR = pytest.mark.parametrize("cls", CLASSES)
COPIES: list[Callable[[Any], Any]] = [
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: pickle.loads(pickle.dumps(error, protocol=0)),
    copy.copy,
    copy.deepcopy,
]
EVERY_COPY = pytest.mark.parametrize(
    "copied", COPIES, ids=["pickle", "pickle-0", "copy", "deepcopy"]
)


def test_the_errors_are_those_of_the_documented_tree() -> None:
    """``__all__`` contains exactly the errors of the documented hierarchy."""
    assert {cls.__name__ for cls in CLASSES} == set(BASES)
    assert set(errors.__all__) == set(BASES) | {value.__name__ for value in VALUE_CLASSES}


def test_the_package_defines_no_other_error() -> None:
    """No module in the package defines an exception outside the documented hierarchy."""
    for module in pkgutil.walk_packages(pandium.__path__, "pandium."):
        if module.name.endswith("__main__") or module.name.startswith("pandium.emulator"):
            continue
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(cls, BaseException) and cls.__module__.startswith("pandium"):
                assert cls in CLASSES or cls.__name__ in INTERNAL_SIGNALS


def test_every_error_of_a_journal_is_a_journal_error() -> None:
    """The modules that store journals raise no error of the client except a JournalError."""
    allowed = {"JournalError", "UnusableJournal"}
    modules = {one.name for one in pkgutil.iter_modules(_bulk.__path__, "pandium._bulk.")}
    used = {
        name: vars(importlib.import_module(name)).keys() & BASES.keys()
        for name in modules - {"pandium._bulk.sync"}
    }
    assert {name: names for name, names in used.items() if not names <= allowed} == {}
    assert set().union(*used.values()) == allowed


@EVERY_ERROR
def test_every_error_can_be_imported_from_the_package(cls: type[errors.PandiumError]) -> None:
    """Each error can be imported from the package itself."""
    assert getattr(pandium, cls.__name__) is cls
    assert cls.__name__ in pandium.__all__


@EVERY_ERROR
def test_an_error_has_its_documented_bases(cls: type[errors.PandiumError]) -> None:
    """Each error has the base classes of the documented hierarchy."""
    assert cls.__bases__ == BASES[cls.__name__]


@EVERY_ERROR
@EVERY_COPY
def test_a_copy_of_an_error_has_all_attributes(
    cls: type[errors.PandiumError], copied: Callable[[Any], Any]
) -> None:
    """A pickled or copied error has the same type, text and attributes."""
    error = create_error(cls)
    duplicate = copied(error)
    assert type(duplicate) is cls
    assert duplicate is not error
    assert attributes_of(duplicate) == attributes_of(error)
    assert (str(duplicate), repr(duplicate)) == (str(error), repr(error))


@EVERY_ERROR
@EVERY_COPY
def test_a_copy_of_an_error_without_a_request_has_the_defaults(
    cls: type[errors.PandiumError], copied: Callable[[Any], Any]
) -> None:
    """A copy of an error without a request has no request either."""
    construct: Any = cls
    error = construct("", **own_attributes(cls))
    duplicate = copied(error)
    assert attributes_of(duplicate) == attributes_of(error)
    assert (duplicate.method, duplicate.url, duplicate.attempts, duplicate.resume_skip) == (
        None,
        None,
        (),
        None,
    )


@EVERY_COPY
def test_a_copy_has_the_notes(copied: Callable[[Any], Any]) -> None:
    """Notes that were added to an error are also copied."""
    error = create_error(errors.NotFound)
    error.add_note("during the nightly sync")
    assert copied(error).__notes__ == ["during the nightly sync"]


def test_a_shallow_copy_is_independent() -> None:
    """Setting an attribute of a copy does not change the error."""
    error = create_error(errors.NotFound)
    copy.copy(error).resume_skip = 99
    assert error.resume_skip == COMMON_ATTRIBUTES["resume_skip"]


def test_a_deep_copy_shares_nothing() -> None:
    """Changing the body of a deep copy does not change the error."""
    error = errors.APIError("x", status_code=400, body={"a": []})
    copy.deepcopy(error).body["a"].append(1)
    assert error.body == {"a": []}


def shown_url(cls: type[errors.PandiumError]) -> str:
    host = "https://api.example" if cls is errors.ConnectFailed else ""
    return f"{host}/v2/tenants/7/sync"


@EVERY_ERROR
def test_an_error_without_text_can_be_shown_and_copied(
    cls: type[errors.PandiumError],
) -> None:
    """An error without a message is shown as an empty string and can be pickled."""
    error = create_error(cls)
    error.args = ()
    duplicate = pickle.loads(pickle.dumps(error))
    assert duplicate.args == ()
    assert str(duplicate) == f"POST {shown_url(cls)}: "


@EVERY_ERROR
def test_the_text_names_the_request(cls: type[errors.PandiumError]) -> None:
    """
    The text has the method, the path without its query, and what happened.

    If no connection could be made, it also has the host, which may be the problem.
    """
    error = create_error(cls, "422 Unprocessable Entity: no such mode")
    text = f"POST {shown_url(cls)}: 422 Unprocessable Entity: no such mode"
    assert str(error) == text
    assert repr(error) == f"{cls.__name__}({text!r})"


@pytest.mark.parametrize("missing", ["method", "url"])
def test_the_text_of_an_error_without_a_request_is_unchanged(missing: str) -> None:
    """An error without a request shows only its message."""
    error = create_error(errors.PandiumError)
    setattr(error, missing, None)
    assert str(error) == "something failed"


@EVERY_ERROR
@given(text=st.text(st.characters() | st.sampled_from("\r\n\t\x0b\x0c\x1c\x85\u2028\u2029")))
def test_the_text_is_one_line(cls: type[errors.PandiumError], text: str) -> None:
    """An error is always shown on one line, whatever the server sent."""
    error = create_error(cls, text)
    assert len(str(error).splitlines()) == 1
    assert len(repr(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("cls", "is_unknown"),
    [
        (errors.PandiumError, False),
        (errors.ConfigurationError, False),
        (errors.TransportError, True),
        (errors.ConnectFailed, False),
        (errors.RequestTimeout, True),
        (errors.ConnectionLost, True),
        (errors.DriftError, False),
    ],
)
def test_the_outcome_is_unknown_only_if_the_request_was_sent(
    cls: type[errors.PandiumError], *, is_unknown: bool
) -> None:
    """The outcome is unknown after a lost response, but not if the request was never sent."""
    assert cls("x").outcome_unknown is is_unknown


def test_an_api_error_has_empty_defaults() -> None:
    """An APIError with only a status code has empty attributes that are not shared."""
    first, second = (errors.APIError("x", status_code=500) for _ in range(2))
    assert (first.message, first.details, first.body) == ("", (), None)
    assert (first.headers, first.retry_after) == ({}, None)
    assert first.headers is not second.headers


def test_a_connector_error_has_no_data_by_default() -> None:
    """A ConnectorError has no data unless it is set."""
    assert errors.ConnectorError("x", status_code=500).data is None


def test_a_decode_error_has_no_path_by_default() -> None:
    """A DecodeError has an empty path unless it concerns a part of the response."""
    assert errors.DecodeError("x").path == ""


@pytest.mark.parametrize("cls", [errors.RequestTimeout, errors.WaitTimeout])
def test_a_timeout_is_a_builtin_timeout_error(cls: type[errors.PandiumError]) -> None:
    """``except TimeoutError`` catches the library's timeout errors."""
    with pytest.raises(TimeoutError, match="something failed"):
        raise create_error(cls)


@pytest.mark.parametrize(
    "value", [COMMON_ATTRIBUTES["attempts"][0], OWN_ATTRIBUTES[errors.APIError]["details"][0]]
)
def test_attempts_and_details_are_frozen_and_hashable(value: Any) -> None:
    """An attempt or a detail cannot be changed and can be a member of a set."""
    name = type(value).__attrs_attrs__[0].name
    with pytest.raises(AttributeError):
        setattr(value, name, None)
    assert {value} == {copy.deepcopy(value)}
