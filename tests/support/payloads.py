"""Hypothesis strategies for JSON payloads of the API, most of them valid."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from pandium.models import Integration, Release, Run, Tenant, TenantMetadata

TENANTS: Any = list[Tenant]
INTEGRATIONS: Any = list[Integration]
RUNS: Any = list[Run]


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = {"a": [value]}
    return value


DEPTHS = st.integers(1, 80)

INTEGERS = st.integers() | st.integers(min_value=2**63, max_value=2**80) | st.integers(-(2**70))
TIMESTAMPS = st.builds(
    lambda timestamp, form, zone: timestamp.strftime(form) + zone,
    # strftime does not pad years below 1000.
    st.datetimes(min_value=datetime(1000, 1, 1)),  # noqa: DTZ001 - the zone is added as text
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
# Free text may look like a datetime.
TEXTS = st.text(max_size=8) | TIMESTAMPS
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


def mostly_valid(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 19).flatmap(
        lambda number: st.none() if number == 0 else ANYTHING if number == 1 else valid
    )


def objects_of(
    required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    valid = st.fixed_dictionaries(
        {name: mostly_valid(value) for name, value in required.items()},
        optional={
            **{name: mostly_valid(value | st.none()) for name, value in optional.items()},
            "a_later_field": ANYTHING,
        },
    )
    names = st.sampled_from([None] * 9 + sorted(required)) if required else st.none()
    return st.builds(
        lambda value, missing: {k: v for k, v in value.items() if k != missing}, valid, names
    )


DATES = {"created_date": TIMESTAMPS, "modified_date": TIMESTAMPS}
CHANNELS = st.sampled_from(["Latest", "Default"]) | TEXTS
CONNECTOR_STATUS = objects_of({"name": TEXTS, "status": TEXTS}, {"last_change": TIMESTAMPS})
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
        **DATES,
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
        **DATES,
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
                {"id": INTEGERS, "created_date": TIMESTAMPS, "mode": MODES, "source": TEXTS},
                {"payload": OBJECTS},
            ),
            max_size=2,
        ),
        "started_date": TIMESTAMPS,
        "completed_date": TIMESTAMPS,
        "tenant_id": INTEGERS,
        "integration_id": INTEGERS,
    },
)
RELEASE = objects_of(
    {"id": INTEGERS, "name": TEXTS, "config_version": TEXTS},
    {**DATES, "run_command": TEXTS, "tag": TEXTS, "config_schema": OBJECTS},
)
METADATA = objects_of({"tenant_id": INTEGERS}, {**DATES, "data": OBJECTS})
PAYLOADS = st.one_of(
    st.tuples(st.just(TENANTS), st.lists(TENANT, max_size=2)),
    st.tuples(st.just(INTEGRATIONS), st.lists(INTEGRATION, max_size=2)),
    st.tuples(st.just(RUNS), st.lists(RUN, max_size=2)),
    st.tuples(st.just(Release), RELEASE),
    st.tuples(st.just(TenantMetadata), METADATA),
    st.tuples(st.sampled_from([TENANTS, INTEGRATIONS, RUNS, Release, TenantMetadata]), ANYTHING),
)
