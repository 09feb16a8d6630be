"""A server with a lower maximum of records per page."""

from typing import Any

import pytest

from pandium.emulator import Emulator
from support.emulating import Api, served


def ids(api: Api, path: str = "/tenants", **query: Any) -> list[int]:
    return [one["id"] for one in api.json(path, **query)]


def test_a_lower_maximum_shortens_pages_without_an_error() -> None:
    """A request for more records gets a page of the maximum size. Others are unaffected."""
    with served({"integrations": [{}], "tenants": [{}] * 5}) as api:
        api.emulator.page_limit = 2
        assert ids(api) == [1, 2]
        assert ids(api, limit=500, skip=1) == [2, 3]
        assert ids(api, limit=1, skip=1) == [2]
        assert ids(api, limit=500, skip=4) == [5]
        api.emulator.page_limit = None
        assert ids(api) == [1, 2, 3, 4, 5]


def test_the_maximum_applies_to_every_paged_listing() -> None:
    """Pages of integrations and runs are also shorter. Releases are not paginated."""
    with served({"integrations": [{"releases": 3}, {}], "tenants": [{}]}) as api:
        api.emulator.runs.script(appears_after=0, phases=[("Succeeded", 0)])
        for _ in range(2):
            api.sync()
            api.clock.advance(1)
        paths = ("/integrations", "/tenants/1/runs", "/integrations/1/releases")
        assert [len(ids(api, path)) for path in paths] == [2, 2, 3]
        api.emulator.page_limit = 1
        assert [len(ids(api, path)) for path in paths] == [1, 1, 3]


def test_a_limit_above_the_documented_maximum_is_still_refused() -> None:
    """A lower maximum does not change the documented one."""
    with served() as api:
        api.emulator.page_limit = 2
        assert api.refused("GET", "/tenants?limit=501") == [["query", "limit"]]


def test_reset_restores_the_documented_maximum() -> None:
    """After a reset, there is no lower maximum."""
    emulator = Emulator()
    emulator.page_limit = 2
    emulator.reset()
    assert emulator.page_limit is None


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "2"])
def test_an_invalid_maximum_is_refused(limit: Any) -> None:
    """The error names the attribute and the value, and the maximum is unchanged."""
    emulator = Emulator()
    emulator.page_limit = 7
    with pytest.raises(ValueError, match=rf"^page_limit: must be .*, not {limit!r}$"):
        emulator.page_limit = limit
    assert emulator.page_limit == 7
