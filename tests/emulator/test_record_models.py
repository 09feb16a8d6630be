"""The records: one model for each, from which all other representations are derived."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pandium.emulator import Connector, Emulator, Integration, Release, Tenant
from pandium.emulator.api.views import shown_fields
from pandium.emulator.state.record_base import Record
from support.control import controlled
from support.emulating import served

MODELS: dict[str, type[Record]] = {
    "integrations": Integration,
    "releases": Release,
    "tenants": Tenant,
}
ADD: dict[str, Callable[[Emulator], Callable[..., Any]]] = {
    "integrations": lambda emulator: emulator.add_integration,
    "releases": lambda emulator: emulator.add_release,
    "tenants": lambda emulator: emulator.add_tenant,
}
# The fields of a response that the API derives from other records.
DERIVED = {
    "integrations": {"default_release_id"},
    "releases": set[str](),
    "tenants": {"schedule", "status"},
}


@pytest.fixture(params=list(MODELS))
def section(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_the_arguments_are_the_fields(section: str) -> None:
    """Each field of a record is an argument of the method that adds one."""
    arguments = inspect.signature(ADD[section](Emulator())).parameters
    assert set(arguments) == set(MODELS[section].model_fields)
    kinds = [one.kind for one in arguments.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


def test_help_shows_the_types_of_the_arguments(section: str) -> None:
    """The signature that `help` prints names types, without the validators of the fields."""
    signature = str(inspect.signature(ADD[section](Emulator())))
    assert "id: int" in signature
    assert "Annotated" not in signature
    assert " at 0x" not in signature


def test_a_saved_record_has_all_fields(section: str) -> None:
    """Each field of a record is in a saved state."""
    [saved, *_] = Emulator("demo")._service.dump()[section]
    assert list(saved) == list(MODELS[section].model_fields)


def test_the_api_shows_the_fields_that_are_not_hidden(section: str) -> None:
    """Each other field is in the API's response, under its own name."""
    with served({"tenants": [{}]}) as api:
        path = "/integrations/1/releases" if section == "releases" else f"/{section}"
        [shown] = api.json(path)
        assert set(shown) == {*shown_fields(MODELS[section]), *DERIVED[section]}


def test_the_control_api_describes_the_fields(section: str) -> None:
    """The body that adds a record and the record in the state have each field of the record."""
    with served() as api:
        document = api.http.get("/_emulator/openapi.json").json()
    schemas = document["components"]["schemas"]
    name = MODELS[section].__name__
    for form in (f"{name}-Input", f"{name}-Output"):
        assert list(schemas[form]["properties"]) == list(MODELS[section].model_fields)
    assert schemas[f"{name}-Input"]["additionalProperties"] is False
    assert "required" not in schemas[f"{name}-Input"]


def test_a_given_record_is_added_as_it_is(section: str) -> None:
    """A complete record keeps all of its fields in another emulator."""
    source, target = Emulator("demo"), Emulator({})
    for integration in source.integrations:
        target.add_integration(**dict(integration) | {"releases": 0})
    [given, *_] = source._service.dump()[section]
    if section == "integrations":
        given |= {"id": 99, "releases": 0}
    record = ADD[section](target)(**given)
    assert {**target._service.dump()[section][-1], "releases": 0} == {**given, "releases": 0}
    assert record.id == given["id"]


def test_a_record_cannot_be_changed(section: str) -> None:
    """A record that an emulator has returned does not change later."""
    record = ADD[section](Emulator())()
    with pytest.raises(ValidationError, match="frozen"):
        record.name = "other"


def test_a_connector_may_be_given_by_name() -> None:
    """A name, an object and a record describe the same connector."""
    emulator = Emulator()
    for one in ("mail", {"name": "mail"}, Connector(name="mail")):
        add: Any = emulator.add_integration
        assert add(connectors=[one]).systems == [Connector(name="mail")]
        assert add(connectors=(one,)).systems == [Connector(name="mail")]


def test_an_argument_is_given_once() -> None:
    """A positional argument and the same keyword argument exclude each other."""
    add: Any = Emulator().add_tenant
    assert add("acme").name == add(name="acme").name
    assert add(None, paused=True).name == "tenant-3"
    with pytest.raises(TypeError, match="name"):
        add("acme", name="acme")
    with pytest.raises(TypeError, match="positional"):
        add("acme", 1)
    with pytest.raises(ValueError, match=r"^colour: "):
        add(colour="red")


@pytest.mark.parametrize(
    ("count", "end"), [(20, "tenants[19].name: must be"), (23, "; and 3 more")]
)
def test_a_message_lists_the_first_mistakes(count: int, end: str) -> None:
    """The message of an error stays readable however many mistakes there are."""
    with pytest.raises(ValueError, match="lowercase") as caught:
        Emulator({"tenants": [{"name": "No"}] * count})
    assert str(caught.value).count("lowercase") == 20
    assert end in str(caught.value)
    assert ("more" in str(caught.value)) is (count > 20)


def test_all_mistakes_in_a_record_are_named() -> None:
    """Each error has a location, in Python and over HTTP."""
    wrong = {"name": "No", "paused": "yes", "user_schedule": "often", "connected": "crm"}
    with controlled() as control:
        add: Any = control.emulator.add_tenant
        with pytest.raises(
            ValueError, match=r"^name: .*; paused: .*; user_schedule: .*; connected"
        ):
            add(**wrong)
        assert control.refused("POST", "/tenants", json=wrong) == list(wrong)
        assert control.emulator.tenants == []
