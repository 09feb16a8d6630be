"""A run with its triggers and its log over HTTP."""

from support.control import controlled


def test_a_run_is_shown_before_it_appears_and_after() -> None:
    """The triggers are shown immediately, and the log up to the current phase."""
    with controlled({"integrations": [{}], "tenants": [{"name": "acme"}]}) as control:
        control(
            "PUT", "/scripts", json={"appears_after": 5, "phases": [["Running", 5], ["Done", 0]]}
        )
        for payload in ({"since": "2026"}, None):
            control.api("POST", "/tenants/1/sync?mode=init", json=payload)
        shown = control("GET", "/runs/1")
        assert (shown["run"]["state"], shown["run"]["tenant"], shown["log"]) == (
            "waiting",
            "acme",
            "",
        )
        assert [one["payload"] for one in shown["triggers"]] == [{"since": "2026"}, {}]
        assert {(one["mode"], one["source"]) for one in shown["triggers"]} == {("init", "api")}
        control.emulator.clock.advance(5)  # type: ignore[unused-coroutine]  # the tests' own clock
        shown = control("GET", "/runs/1")
        assert (shown["run"]["state"], shown["run"]["phase"]) == ("going", "Running")
        lines = shown["log"].splitlines()
        assert [line.partition(" ")[2] for line in lines] == [
            "run 1: triggers 1, 2",
            "run 1: Running",
        ]
        assert control.refused("GET", "/runs/2", 404) == ["path"]
