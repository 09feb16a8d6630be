"""Bytes into models and back: two ways to read that agree, and errors that name the place."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandium import models
from pandium._serialization import convert
from pandium.errors import DecodeError
from pandium.models import Integration, Release, Run, Tenant, TenantMetadata, TriggerStatus

TENANTS: Any = list[Tenant]
INTEGRATIONS: Any = list[Integration]
RUNS: Any = list[Run]

# Payloads: mostly right, and wrong in one place or another.


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"a": [value]}
    return value


DEPTHS = st.integers(1, 80)

INTEGERS = st.integers() | st.integers(min_value=2**63, max_value=2**80) | st.integers(-(2**70))
STAMPS = st.builds(
    lambda stamp, form, zone: stamp.strftime(form) + zone,
    # strftime pads no year below 1000.
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001 - zones are added as text
    st.sampled_from(
        [
            "%Y-%m-%dT%H:%M:%S",
            "%Y-%m-%d %H:%M:%S",
            "%Y-%m-%dT%H:%M:%S.%f",
            "%Y-%m-%d %H:%M:%S.%f",
            "%Y-%m-%dT%H:%M",
            "%Y%m%dT%H%M%S",
            "%Y-%m-%dt%H:%M:%S.%f789",
        ]
    ),
    st.sampled_from(["", "Z", "z", "+00:00", "-00:00", "+05:30", "-11:00", "+0200", " +01:00"]),
) | st.dates(min_value=datetime(1000, 1, 1, tzinfo=UTC).date()).map(str)
# Text that is free may look like a date-time, and is none.
TEXTS = st.text(max_size=8) | STAMPS
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | TEXTS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.text(max_size=4) | st.sampled_from(["id", "created_date", "last_change"])
OBJECTS = st.dictionaries(NAMES, ANYTHING | st.builds(nested, ANYTHING, DEPTHS), max_size=3)


def sometimes_wrong(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(
        lambda n: st.none() if n == 0 else ANYTHING if n == 1 else right
    )


def objects_of(
    required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    right = st.fixed_dictionaries(
        {name: sometimes_wrong(value) for name, value in required.items()},
        optional={
            **{name: sometimes_wrong(value | st.none()) for name, value in optional.items()},
            "a_later_field": ANYTHING,
        },
    )
    names = st.sampled_from([None] * 9 + sorted(required)) if required else st.none()
    return st.builds(
        lambda value, missing: {k: v for k, v in value.items() if k != missing}, right, names
    )


TRACES = {"created_date": STAMPS, "modified_date": STAMPS}
CHANNELS = st.sampled_from(["Latest", "Default"]) | TEXTS
CONNECTOR_STATUS = objects_of({"name": TEXTS, "status": TEXTS}, {"last_change": STAMPS})
AUTH = objects_of(
    {}, {"connected": st.booleans(), "connectors": st.lists(CONNECTOR_STATUS, max_size=2)}
)
TENANT_STATUS = objects_of(
    {},
    {
        "last_run": OBJECTS,
        "current_run": OBJECTS,
        "last_successful_run": OBJECTS,
        "dynamic_configs": OBJECTS,
        "auth": AUTH,
    },
)
TENANT = objects_of(
    {"id": INTEGERS, "name": TEXTS},
    {
        **TRACES,
        "archived": st.booleans(),
        "integration_id": INTEGERS,
        "configs": OBJECTS,
        "paused": st.booleans(),
        "user_schedule": TEXTS,
        "schedule": TEXTS,
        "source": TEXTS,
        "integration_release_id": INTEGERS,
        "integration_release_channel": CHANNELS,
        "status": TENANT_STATUS,
    },
)
CONNECTOR = objects_of({"name": TEXTS, "isGlobal": st.booleans()}, {})
CATEGORY = objects_of(
    {"name": TEXTS, "id": INTEGERS, "order_index": INTEGERS | st.floats(allow_nan=False)},
    {"description": TEXTS},
)
INTEGRATION = objects_of(
    {
        "id": INTEGERS,
        "name": TEXTS,
        "long_name": TEXTS,
        "type": st.sampled_from(["Internal", "External", "Pandium"]) | TEXTS,
    },
    {
        **TRACES,
        "connectors": st.lists(CONNECTOR, max_size=2),
        "repository_url": TEXTS,
        "categories": st.lists(CATEGORY, max_size=2),
        "tags": st.lists(objects_of({"name": TEXTS, "id": INTEGERS}, {}), max_size=2),
        "flag": objects_of({"name": TEXTS, "id": INTEGERS}, {"flag_color": TEXTS}),
        "default_release_id": INTEGERS,
        "default_release_channel": CHANNELS,
    },
)
MODES = st.sampled_from(["init", "normal", "webhook"]) | TEXTS
RUN = objects_of(
    {"id": INTEGERS, "mode": MODES},
    {
        "status": objects_of({}, {"phase": TEXTS, "startTime": TEXTS, "completionTime": TEXTS}),
        "triggers": st.lists(
            objects_of(
                {"id": INTEGERS, "created_date": STAMPS, "mode": MODES, "source": TEXTS},
                {"payload": OBJECTS},
            ),
            max_size=2,
        ),
        "started_date": STAMPS,
        "completed_date": STAMPS,
        "tenant_id": INTEGERS,
        "integration_id": INTEGERS,
    },
)
RELEASE = objects_of(
    {"id": INTEGERS, "name": TEXTS, "config_version": TEXTS},
    {**TRACES, "run_command": TEXTS, "tag": TEXTS, "config_schema": OBJECTS},
)
METADATA = objects_of({"tenant_id": INTEGERS}, {**TRACES, "data": OBJECTS})
PAYLOADS = st.one_of(
    st.tuples(st.just(TENANTS), st.lists(TENANT, max_size=2)),
    st.tuples(st.just(INTEGRATIONS), st.lists(INTEGRATION, max_size=2)),
    st.tuples(st.just(RUNS), st.lists(RUN, max_size=2)),
    st.tuples(st.just(Release), RELEASE),
    st.tuples(st.just(TenantMetadata), METADATA),
    st.tuples(st.sampled_from([TENANTS, INTEGRATIONS, RUNS, Release, TenantMetadata]), ANYTHING),
)


def reading(way: Any, data: bytes, cls: Any) -> tuple[str, Any]:
    try:
        value = way(data, cls)
    except DecodeError as error:
        return "error", (str(error), error.path)
    return "value", value


def read_both_ways(data: bytes, cls: Any) -> tuple[str, Any]:
    """Read by both ways, which must agree, types and repr included; raise nothing else."""
    fast = reading(convert.decode, data, cls)
    tolerant = reading(convert._decode_tolerantly, data, cls)
    # The repr, as True equals 1 and two instants in different zones can be equal.
    assert fast == tolerant
    assert repr(fast) == repr(tolerant)
    return fast


def value_of(data: bytes, cls: Any) -> Any:
    kind, value = read_both_ways(data, cls)
    assert kind == "value", value
    return value


def error_of(data: bytes, cls: Any) -> tuple[str, str]:
    kind, error = read_both_ways(data, cls)
    assert kind == "error", error
    text, path = error
    return text, path


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def tenants(**fields: Any) -> bytes:
    return dump([{"id": 1, "name": "n", **fields}])


def models_below(value: Any) -> Iterator[Any]:
    """Walk over a model, or list, and all models in it."""
    if isinstance(value, list):
        for item in value:
            yield from models_below(item)
    elif attrs.has(type(value)):
        yield value
        for field in attrs.fields(type(value)):
            yield from models_below(getattr(value, field.name))


def stamps_below(value: Any) -> Iterator[datetime]:
    for model in models_below(value):
        for field in attrs.fields(type(model)):
            if isinstance(stamp := getattr(model, field.name), datetime):
                yield stamp


@settings(deadline=None)
@given(case=PAYLOADS)
def test_the_fast_and_the_tolerant_way_agree(case: tuple[Any, Any]) -> None:
    """Whatever the API answers, both ways give the same value or the same DecodeError."""
    cls, payload = case
    kind, value = read_both_ways(dump(payload), cls)
    if kind == "value":
        assert all(stamp.tzinfo is not None for stamp in stamps_below(value))


@settings(deadline=None)
@given(case=PAYLOADS)
def test_a_model_survives_being_written_and_read(case: tuple[Any, Any]) -> None:
    """What was read is read again as an equal model from to_json and from to_dict."""
    cls, payload = case
    kind, value = reading(convert.decode, dump(payload), cls)
    for model in models_below(value) if kind == "value" else ():
        # JSON has no infinity: to_json writes null, as the encoder does everywhere.
        if not any(map(math.isinf, floats_below(convert.to_dict(model)))):
            assert convert.decode(convert.to_json(model), type(model)) == model
            assert json.loads(convert.to_json(model)) == convert.to_dict(model)
        assert convert.decode(dump(convert.to_dict(model)), type(model)) == model


def floats_below(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from floats_below(item)


@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    """Bytes that are no JSON at all are a DecodeError, and never another error."""
    for cls in (TENANTS, Tenant, RUNS):
        reading(convert.decode, data, cls)


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901+00:00", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        ("2026-01-02T05:34:05+02:30", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-01T20:04:05-0700", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("20260102T030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_date_time_is_aware(text: str, stamp: datetime) -> None:
    """A date-time is read as an instant; without an offset it is UTC."""
    created = value_of(tenants(created_date=text), TENANTS)[0].created_date
    assert created == stamp
    assert created.utcoffset() is not None


def test_a_date_time_keeps_its_offset() -> None:
    """An offset is not turned into UTC."""
    stamp = value_of(tenants(created_date="2026-01-02T05:34:05+02:30"), TENANTS)[0].created_date
    assert stamp.utcoffset() == timedelta(hours=2, minutes=30)


def test_a_date_time_deep_below_is_aware() -> None:
    """Naive date-times are given UTC in every model below, and in each item of a list."""
    auth = {"connectors": [{"name": "x", "status": "y", "last_change": "2026-01-02T03:04:05"}] * 2}
    found = value_of(tenants(status={"auth": auth}), TENANTS)
    assert list(stamps_below(found)) == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)] * 2


def test_each_date_time_of_a_page_is_given_utc_if_it_has_no_zone() -> None:
    """With a zone or without, beside nulls and what is absent: each date-time is seen by itself."""
    stamps = [f"2026-01-02T03:04:05{zone}" for zone in ("Z", "", "+02:30", "")]
    connectors = [{"name": "x", "status": "y", "last_change": stamp} for stamp in [*stamps, None]]
    statuses: list[Any] = [None, {}, {"auth": {}}, {"auth": {"connectors": []}}]
    statuses += [{"auth": {"connectors": connectors}}, None]
    page = [
        {"id": 1, "name": "n", "created_date": created, "modified_date": None, "status": status}
        for created in stamps
        for status in statuses
    ]
    offsets = [timedelta(0), timedelta(0), timedelta(hours=2, minutes=30), timedelta(0)]
    found = value_of(dump(page), TENANTS)
    assert [tenant.created_date.utcoffset() for tenant in found[::6]] == offsets
    for tenant in found[4::6]:
        *changes, none = [connector.last_change for connector in tenant.status.auth.connectors]
        assert [stamp.utcoffset() for stamp in changes] == offsets
        assert none is None


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "2026-01-02T03:04:05Z", "2026-01-02"])
def test_free_text_that_looks_like_a_date_time_stays_as_it_came(text: str) -> None:
    """A string is a date-time where the API documents one, and nowhere else."""
    free = {"created_date": text, text: [text, {"last_change": text}]}
    status = {"last_run": free, "auth": {"connectors": [{"name": text, "status": text}]}}
    (tenant,) = value_of(
        tenants(name=text, configs=free, user_schedule=text, source=text, status=status), TENANTS
    )
    assert (tenant.name, tenant.user_schedule, tenant.source) == (text, text, text)
    assert (tenant.configs, tenant.status.last_run) == (free, free)
    assert [(c.name, c.status) for c in tenant.status.auth.connectors] == [(text, text)]


def test_a_date_time_is_read_however_its_characters_are_written() -> None:
    """Characters of names and of date-times may be escaped."""
    data = rb'[{"id": 1, "name": "n", "created\u005fdate": "2026\u002d01-02T03:04:05"}]'
    assert list(stamps_below(value_of(data, TENANTS))) == [
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ]


def test_the_last_of_equal_names_counts() -> None:
    """Of a field that comes twice the last one is read."""
    data = (
        b'[{"id": "x", "id": 1, "name": "n", "created_date": "2026-01-02", "created_date": null}]'
    )
    assert value_of(data, TENANTS) == [Tenant(1, "n")]


@pytest.mark.parametrize("nothing", [{}, {"configs": None}], ids=["absent", "null"])
def test_no_two_models_share_what_can_be_changed(nothing: dict[str, None]) -> None:
    """The free data and the lists of a model are its own, even if they came from defaults."""
    tenant = {"id": 1, "name": "n", **nothing}
    page = [{**tenant, "status": {"auth": {}}}, {**tenant, "status": {}}] * 2
    parts = [
        value
        for model in models_below(value_of(dump(page), TENANTS))
        for field in attrs.fields(type(model))
        if isinstance(value := getattr(model, field.name), (dict, list))
    ]
    assert len({id(part) for part in parts}) == len(parts) == 4 * 6


@pytest.mark.parametrize("text", ["", "now", "2026-02-30", "2026-01-02T25:00:00Z", "1767322800"])
def test_another_string_is_no_date_time(text: str) -> None:
    """A string that is no date-time is a DecodeError at its place."""
    message, path = error_of(tenants(created_date=text), TENANTS)
    assert path == "[0].created_date"
    assert "expected a date-time, got another string" in message


WRONG: list[tuple[Any, Any, str, str]] = [
    (TENANTS, [{"id": 1, "name": "n"}] * 3 + [{"id": 1, "name": "n", "status": {"auth": 5}}],
     "[3].status.auth", "expected an object, got an integer"),
    (TENANTS, [{"name": "n"}], "[0].id", "required field missing"),
    (TENANTS, [{"id": None, "name": "n"}], "[0].id", "expected an integer, got null"),
    (TENANTS, [{"id": "1", "name": "n"}], "[0].id", "expected an integer, got a string"),
    (TENANTS, [{"id": True, "name": "n"}], "[0].id", "expected an integer, got a boolean"),
    (TENANTS, [{"id": 1.5, "name": "n"}], "[0].id", "expected an integer, got a number"),
    (TENANTS, [{"id": 1, "name": 5}], "[0].name", "expected a string, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "paused": "false"}], "[0].paused",
     "expected a boolean, got a string"),
    (TENANTS, [{"id": 1, "name": "n", "configs": []}], "[0].configs",
     "expected an object, got an array"),
    (TENANTS, [{"id": 1, "name": "n", "created_date": 5}], "[0].created_date",
     "expected a date-time, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "integration_release_channel": 5}],
     "[0].integration_release_channel", "expected a string, got an integer"),
    (TENANTS, [{"id": 1, "name": "n", "status": {"auth": {"connectors": [{"name": "x"}]}}}],
     "[0].status.auth.connectors[0].status", "required field missing"),
    (TENANTS, [5], "[0]", "expected an object, got an integer"),
    (TENANTS, {}, "", "expected an array, got an object"),
    (TENANTS, None, "", "expected an array, got null"),
    (Tenant, [], "", "expected an object, got an array"),
    (Tenant, "x", "", "expected an object, got a string"),
    (INTEGRATIONS, [{"id": 1, "name": "n", "long_name": "l", "type": "External",
      "categories": [{"id": 1, "name": "n", "order_index": "first"}]}],
     "[0].categories[0].order_index", "expected a number, got a string"),
    (INTEGRATIONS, [{"id": 1, "name": "n", "long_name": "l", "type": "External", "tags": {}}],
     "[0].tags", "expected an array, got an object"),
    (RUNS, [{"id": 1, "mode": "init", "triggers": [7]}], "[0].triggers[0]",
     "expected an object, got an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "payload", "path", "text"), WRONG)
def test_a_decode_error_names_the_place(cls: Any, payload: Any, path: str, text: str) -> None:
    """A DecodeError has the path to what is wrong, and says what was expected there."""
    where = f"{path}: " if path else ""
    assert error_of(dump(payload), cls) == (f"the answer cannot be read: {where}{text}", path)


def test_a_decode_error_counts_the_other_places() -> None:
    """Of many wrong places the error names the first, and how many more there are."""
    text, path = error_of(dump([{}, {"id": 1}]), TENANTS)
    assert path == "[0].id"
    assert text.endswith("[0].id: required field missing (and 2 more)")


@pytest.mark.parametrize("data", [b"", b" \r\n\t"])
def test_an_empty_answer_is_said_to_be_empty(data: bytes) -> None:
    """An answer of nothing or white space is a DecodeError of the whole that says so."""
    assert error_of(data, TENANTS) == ("the answer is empty where JSON is due", "")


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>Bad gateway</body></html>",
        b'[{"id": 1, "name": "n"}',
        b'[{"id": 1, "na',
        b'[{"id": 1, "name": "n"}] []',
        b'[{"id": 1, "name": "\xff"}]',
        b"[" * 100_000,
    ],
    ids=["html", "no end", "cut off", "twice", "not UTF-8", "open brackets"],
)
def test_what_is_no_json_is_a_decode_error(data: bytes) -> None:
    """HTML, half of an answer, wrong bytes and bottomless nesting are DecodeErrors of the whole."""
    text, path = error_of(data, TENANTS)
    assert path == ""
    assert text.startswith("the answer is not JSON: ")
    with pytest.raises(DecodeError, match="the answer is not JSON: "):
        convert.decode_json(data)


def test_a_deep_object_is_read() -> None:
    """An object of a hundred levels is read as it is."""
    deep = nested(1, 50)
    assert value_of(tenants(configs={"b": deep}), TENANTS)[0].configs == {"b": deep}


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
def test_an_integer_beyond_64_bits_is_exact(number: int) -> None:
    """An integer of any size is read exactly, as a field and within free data."""
    (tenant,) = value_of(dump([{"id": number, "name": "n", "configs": {"a": number}}]), TENANTS)
    assert (tenant.id, tenant.configs["a"]) == (number, number)


def test_an_integer_beyond_a_double_is_no_number_field() -> None:
    """An integer that no double can hold is a DecodeError where a number is due."""
    payload = {"id": 1, "name": "n", "order_index": 10**400}
    _, path = error_of(dump(payload), models.Category)
    assert path == "order_index"


def test_a_lone_surrogate_is_read() -> None:
    """An escaped half of a character is kept, as it is JSON."""
    assert value_of(tenants(name="\ud800"), TENANTS)[0].name == "\ud800"
    assert convert.decode_json(b'"\\ud800"') == "\ud800"


def test_a_null_is_as_good_as_absent() -> None:
    """An optional field that is null has its default, in nested models and lists too."""
    nulls = {"configs": None, "paused": None, "source": None, "created_date": None}
    auth = {"connected": None, "connectors": None}
    assert value_of(tenants(**nulls, status=None), TENANTS) == value_of(tenants(), TENANTS)
    assert value_of(tenants(status={"auth": auth, "last_run": None}), TENANTS) == value_of(
        tenants(status={}), TENANTS
    )
    run = {"id": 1, "mode": "init"}
    assert value_of(dump([{**run, "triggers": None}]), RUNS) == value_of(dump([run]), RUNS)


def test_a_null_required_field_under_another_name_is_an_error() -> None:
    """A required field is required under the API's own name too."""
    payload = [{"id": 1, "name": "n", "long_name": "l", "type": "x", "connectors": [{"name": "c"}]}]
    _, path = error_of(dump(payload), INTEGRATIONS)
    assert path.startswith("[0].connectors[0].")
    payload[0]["connectors"] = [{"name": "c", "isGlobal": None}]
    _, path = error_of(dump(payload), INTEGRATIONS)
    assert path.startswith("[0].connectors[0].")


def test_a_field_is_read_under_the_name_of_the_api_alone() -> None:
    """The name that a field has in Python is one that the API does not know."""
    run = {"id": 1, "mode": "init", "status": {"start_time": 5, "startTime": "then"}}
    assert value_of(dump([run]), RUNS)[0].status == models.RunStatus(start_time="then")
    run["status"] = {"start_time": "then"}
    assert value_of(dump([run]), RUNS)[0].status == models.RunStatus()
    _, path = error_of(dump({"name": "c", "is_global": True}), models.Connector)
    assert path.endswith("isGlobal")


@pytest.mark.parametrize("payload", [None, True, 5, 1.5, "x", [1], {"a": {"b": None}}])
def test_plain_json_is_read_as_it_is(payload: Any) -> None:
    """JSON for which there is no model is given as it came."""
    assert convert.decode_json(dump(payload)) == payload


def test_a_model_is_written_with_the_names_of_the_api() -> None:
    """to_dict gives the API's names, ISO date-times and the values of enums, JSON-ready."""
    payload = {
        "id": 1,
        "mode": "a later one",
        "status": {"phase": "Running", "startTime": "then", "completionTime": None},
        "triggers": [
            {"id": 2, "created_date": "2026-01-02T03:04:05Z", "mode": "init", "source": "Cron",
             "payload": {"a": [1]}}
        ],
        "started_date": "2026-01-02T03:04:05.678901+02:00",
        "completed_date": None,
        "tenant_id": 3,
        "integration_id": None,
    }  # fmt: skip
    model = convert.decode(dump(payload), Run)
    assert convert.to_dict(model) == payload
    assert json.loads(convert.to_json(model)) == payload
    assert isinstance(convert.to_json(model), bytes)


def test_an_integration_is_written_with_the_names_of_the_api() -> None:
    """The names of the API stand in nested models too."""
    connector = models.Connector(name="c", is_global=True)
    integration = Integration(1, "n", "l", models.IntegrationType.EXTERNAL, connectors=[connector])
    assert convert.to_dict(connector) == {"name": "c", "isGlobal": True}
    assert convert.to_dict(integration)["connectors"] == [{"name": "c", "isGlobal": True}]


def test_plain_strings_are_the_types_of_a_written_enum() -> None:
    """What to_dict gives holds no enum and no date-time, known value or not."""
    written = convert.to_dict(
        Integration(1, "n", "l", models.IntegrationType("new"), created_date=datetime.now(UTC))
    )
    assert (type(written["type"]), type(written["created_date"])) == (str, str)


@pytest.mark.parametrize("value", [None, {"a": 1}, [TriggerStatus("x")], "x", Tenant])
def test_only_a_model_can_be_written(value: object) -> None:
    """What is no model of the library is a TypeError that says so."""
    for write in (convert.to_dict, convert.to_json):
        with pytest.raises(TypeError, match="expected a model of pandium, got "):
            write(value)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"a": [math.inf]},
        object(),
        {"a": {1, 2}},
        {"a": b"x"},
        {("a", 1): 1},
        CIRCLE,
        "\ud800",
        {"a": ["\udfff"]},
        datetime.now(UTC),
    ],
    ids=["nan", "inf", "object", "set", "bytes", "key", "circle", "surrogate", "deep", "datetime"],
)
def test_what_is_no_json_is_refused_by_the_name_of_its_argument(value: object) -> None:
    """A value that is no JSON is a ValueError that names the argument, and has no cause."""
    with pytest.raises(ValueError, match="payload cannot be written as JSON: ") as caught:
        convert.encode_json(value, "payload")
    assert caught.value.__suppress_context__


def test_bottomless_data_is_refused_by_the_name_of_its_argument() -> None:
    """Data nested too deep to write is a ValueError that names the argument."""
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="configs cannot be written as JSON: "):
        convert.encode_json(deep, "configs")


@given(value=ANYTHING.filter(lambda value: not any(map(math.isinf, floats_below(value)))))
def test_json_is_written_exactly(value: Any) -> None:
    """What is JSON is written as UTF-8 without blanks, and reads as the same."""
    written = convert.encode_json(value, "payload")
    assert json.loads(written) == value
    assert written.decode() == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_text_that_is_no_unicode_is_written_escaped() -> None:
    """A lone surrogate, which JSON can name and UTF-8 cannot hold, is written as it was read."""
    tenant = convert.decode(b'{"id":1,"name":"\\ud800"}', models.Tenant)
    assert convert.decode(convert.to_json(tenant), models.Tenant) == tenant
