"""The page: what it shows in a browser, and what the browser allows it to do."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import pandium.emulator
from pandium.emulator import Emulator, ManualClock
from support.contrasts import CONTRASTS

if TYPE_CHECKING:
    from support.browser import Browser

PAGE = (Path(pandium.emulator.__file__).parent / "control" / "page.html").read_text()
KEY = {"x-api-key": "k"}

# Record the pending timers, so that a test can wait until the page has nothing left to do.
PENDING = """
const [set, clear] = [window.setTimeout, window.clearTimeout];
window.pending = new Set();
window.setTimeout = (act, delay) => {
  const id = set(() => { window.pending.delete(id); act(); }, delay);
  window.pending.add(id);
  return id;
};
window.clearTimeout = (id) => { window.pending.delete(id); clear(id); };
"""


def policy() -> dict[str, str]:
    with Emulator() as emulator:
        answer = httpx.get(emulator.url)
    assert answer.text == PAGE
    rules = answer.headers["content-security-policy"].split("; ")
    return dict(rule.split(" ", 1) for rule in rules)


def test_the_page_may_do_nothing_but_ask_its_own_server() -> None:
    """The policy allows only its script and its style, by their hashes."""
    rules = policy()
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        [content] = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["connect-src"] == "'self'"


def test_the_page_is_whole_in_itself() -> None:
    """It contains no URL of another host, and no code that turns text into markup."""
    assert set(re.findall(r"\w+://[\w.]+", PAGE)) == {"http://www.w3.org"}  # SVG's own name
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style="):
        assert word not in PAGE


def test_the_page_links_to_the_documentation_of_the_control_api() -> None:
    """The link leads to a page that exists."""
    assert 'href="/_emulator/docs"' in PAGE
    with Emulator() as emulator:
        assert httpx.get(f"{emulator.url}/_emulator/docs").status_code == 200


def test_the_page_is_only_read() -> None:
    """Only GET and HEAD are allowed, and they are not recorded."""
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, timeout=60) as http:
        assert http.get("/").headers["content-type"] == "text/html; charset=utf-8"
        assert http.head("/").status_code == 200
        assert http.post("/").status_code == 405
        assert not emulator.requests


@pytest.fixture(scope="module")
def window() -> Iterator["Browser"]:
    from support.browser import browser  # noqa: PLC0415 - selenium is in the session `browser` alone

    with browser("--window-size=1440,900") as running:
        yield running


class Shown:
    """The page of an emulator in a browser."""

    def __init__(self, emulator: Emulator, window: "Browser") -> None:
        self.emulator = emulator
        self.window = window
        self.http = httpx.Client(base_url=emulator.url, headers=KEY, timeout=60)
        window.driver.get("about:blank")
        window.console()
        window.requested()
        window.driver.get(emulator.url)
        self.until("return document.getElementById('live').textContent === 'Live'")

    def until(self, code: str, *arguments: Any) -> None:
        self.window.until(code, *arguments)

    def has(self, table: str, text: str) -> None:
        code = "return document.getElementById(arguments[0]).innerText.includes(arguments[1])"
        self.until(code, table, text)

    def rows(self, table: str) -> list[list[str]]:
        code = """
            return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(
              (row) => [...row.cells].map((cell) => cell.textContent))"""
        rows: list[list[str]] = self.window.script(code, table)
        return rows


@pytest.fixture
def shown(window: "Browser", request: pytest.FixtureRequest) -> Iterator[Shown]:
    # The clock does not advance, so no schedule of the demo starts a run.
    with Emulator(getattr(request, "param", "demo"), clock=ManualClock()) as emulator:
        page = Shown(emulator, window)
        with page.http:
            yield page
        assert not window.console()
        allowed = (f"{emulator.url}/", "data:", "about:", "chrome:")
        assert not [one for one in window.requested() if not one.startswith(allowed)]


@pytest.mark.browser
def test_the_page_follows_what_happens(shown: Shown) -> None:
    """Tenants, runs and requests appear without a reload, and nothing leaves the machine."""
    assert len(shown.rows("tenants")) == 40
    assert shown.rows("runs") == shown.rows("requests") == []
    shown.emulator.runs.script(appears_after=0, phases=[("Running", 600), ("Succeeded", 0)])
    shown.http.post("/v2/tenants/3/sync?mode=init")
    shown.has("runs", "Running")
    shown.has("requests", "/v2/tenants/3/sync?mode=init")
    [run] = shown.rows("runs")
    assert run[:4] == ["amsterdam-2", "Running", "1", "1"]
    assert shown.rows("tenants")[2][:2] == ["amsterdam-2", "Running"]
    assert shown.rows("requests") == [["202", "POST", "/v2/tenants/3/sync?mode=init", "1"]]
    shown.emulator.add_tenant("newcomer")
    shown.has("tenants", "newcomer")
    shown.emulator.archive_tenant(41)
    shown.has("tenants", "archived")
    assert "emulator" in shown.window.driver.title.lower()
    assert "This is an emulator" in shown.window.script("return document.body.innerText")


@pytest.mark.browser
def test_markup_is_shown_as_text(shown: Shown) -> None:
    """Markup in a name, a phase or a path is displayed and not executed."""
    evil = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    store = shown.emulator._service.store
    shown.emulator.add_integration(evil)
    tenant = shown.emulator.add_tenant("harmless", integration_id=6)
    store.tenants[tenant.id] = tenant.model_copy(update={"name": evil})  # an invalid name
    shown.emulator.runs.script(appears_after=0, phases=[(evil, 600)])
    shown.http.post(f"/v2/tenants/{tenant.id}/sync?mode=init")
    shown.http.get("/v2/<script>", params={"a": evil})
    shown.has("runs", "onerror")
    shown.has("requests", "/v2/<script>?")
    assert shown.rows("runs")[0][:2] == [evil, evil]
    assert [shown.rows("tenants")[-1][column] for column in (0, 1, 3)] == [evil, evil, evil]
    shown.window.click("#runs [data-run]")
    shown.has("run", "1")
    shown.has("log", f"run 1: {evil}")
    assert shown.window.script("return document.scripts.length + document.images.length") == 1
    assert shown.window.driver.title == "Pandium emulator"


@pytest.mark.browser
@pytest.mark.parametrize(
    "shown", [{"integrations": [{}], "tenants": [{"paused": True}] * 10_000}], indirect=True
)
def test_ten_thousand_tenants_do_not_choke_it(shown: Shown) -> None:
    """It shows the first hundred tenants and the total, and finds the others."""
    assert len(shown.rows("tenants")) == 100
    shown.has("tenants", "100 of 10,000")
    shown.has("numbers", "10,000")
    shown.window.type("find", "tenant-9999")
    shown.has("tenants", "1 matching, 10,000 in all")
    assert [row[0] for row in shown.rows("tenants")] == ["tenant-9999"]
    shown.window.type("find", "x")
    shown.has("tenants", "No tenants.")


@pytest.mark.browser
def test_it_can_be_read_by_day_and_by_night(shown: Shown) -> None:
    """Each text has a contrast of at least 4.5 with its background, in both schemes."""
    for word in ("Succeeded", "Failed (Refresh)"):
        shown.emulator.runs.script(appears_after=0, phases=[(word, 0)])
        shown.http.post("/v2/tenants/1/sync?mode=init")
    shown.emulator.runs.script(appears_after=600)
    shown.http.post("/v2/tenants/3/sync?mode=init")
    shown.emulator.runs.script(appears_after=0, phases=[("Running", 600)])
    shown.http.post("/v2/tenants/4/sync?mode=init")
    for path in ("/v2/tenants", "/v2/nothing"):
        shown.http.get(path)
    shown.has("runs", "Running")
    shown.has("requests", "404")
    grounds = set()
    for scheme in ("light", "dark"):
        shown.window.prefer(scheme)
        texts: list[tuple[str, float]] = shown.window.script(CONTRASTS)
        assert len(texts) > 200
        assert not [(text, contrast) for text, contrast in texts if contrast < 4.5]
        grounds.add(shown.window.script("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


@pytest.mark.browser
def test_a_run_s_triggers_and_log_are_one_click_away(shown: Shown) -> None:
    """A run's number and a tenant's last run open a dialog, which is updated live."""
    shown.emulator.runs.script(appears_after=10, phases=[("Running", 600), ("Succeeded", 0)])
    for payload in ({"since": "2026"}, {}):
        shown.http.post("/v2/tenants/3/sync?mode=init", json=payload)
    shown.has("runs", "waiting")
    shown.window.click("#runs [data-run]")
    shown.has("run-title", "Run 1")
    shown.has("run-summary", "amsterdam-2, waiting")
    assert [row[:3] for row in shown.rows("run")] == [["1", "api", "init"], ["2", "api", "init"]]
    assert [row[4] for row in shown.rows("run")] == ['{"since":"2026"}', "{}"]
    shown.has("log", "The run has not started.")
    asyncio.run(shown.emulator.clock.advance(10))
    shown.has("log", "run 1: Running")
    shown.window.click("#close")
    assert not shown.window.script("return document.getElementById('run').open")
    shown.has("tenants", "Running")
    shown.window.click("#tenants [data-run]")
    shown.has("log", "run 1: Running")
    shown.emulator.reset()
    shown.has("run-summary", "This run no longer exists.")
    # The browser itself reports a 404, and the page may have asked more than once.
    assert all("/_emulator/runs/1 - Failed to load" in one for one in shown.window.console())
    shown.window.click("#close")


@pytest.mark.browser
def test_archived_tenants_are_counted_apart(shown: Shown) -> None:
    """The number of tenants counts active ones, and archived ones are shown next to it."""
    active = sum(not tenant.archived for tenant in shown.emulator.tenants)
    archived = len(shown.emulator.tenants) - active
    shown.has("numbers", f"+ {archived} archived\n{active}")
    shown.has("tenants", f"40, {archived} archived")
    shown.emulator.archive_tenant(1)
    shown.has("numbers", f"+ {archived + 1} archived\n{active - 1}")


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/", "/_emulator/docs"])
def test_a_phone_shows_the_important_columns_first(shown: Shown, path: str) -> None:
    """Only tables are wider than the screen, and their first columns are visible."""
    shown.emulator.runs.script(appears_after=0, phases=[("Failed (Integration Issue)", 600)])
    shown.http.post("/v2/tenants/3/sync?mode=init")
    with shown.window.phone():
        shown.window.driver.get(f"{shown.emulator.url}{path}")
        if path == "/":
            shown.has("runs", "Failed (Integration Issue)")
        widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
        [content, screen] = shown.window.script(widths)
        assert content == screen == 390
        for table in ("tenants", "runs", "requests") if path == "/" else ():
            cell = f"#{table} tbody tr td:nth-child(2)"
            edge = f"return document.querySelector('{cell}').getBoundingClientRect().right"
            assert shown.window.script(edge) <= 390


@pytest.mark.browser
def test_the_documentation_can_be_read_by_day_and_by_night(shown: Shown) -> None:
    """Each text has a contrast of at least 4.5 with its background, in both schemes."""
    shown.window.driver.get(f"{shown.emulator.url}/_emulator/docs")
    for scheme in ("light", "dark"):
        shown.window.prefer(scheme)
        texts: list[tuple[str, float]] = shown.window.script(CONTRASTS)
        assert len(texts) > 400
        assert not [(text, contrast) for text, contrast in texts if contrast < 4.5]


@pytest.mark.browser
def test_it_can_be_used_without_a_mouse_and_without_seeing(shown: Shown) -> None:
    """The keyboard reaches every control, each has a name, and pausing stops the updates."""
    names = [shown.window.press("Tab") for _ in range(7)]
    assert names == [
        "Pause updates",
        "Find tenants by name or id",
        "Tenants",
        "Runs",
        "Requests",
        "Control API",
        "Emulated API",
    ]
    for _ in range(7):
        shown.window.press("Shift+Tab")
    assert shown.window.press("Tab") == "Pause updates"
    shown.window.script(PENDING)
    shown.window.press("Space")
    shown.has("live", "Paused")
    assert shown.window.script("return window.pending.size") == 0
    pressed = "return document.getElementById('pause').getAttribute('aria-pressed')"
    assert shown.window.script(pressed) == "true"
    assert shown.window.script("return document.getElementById('live').role") == "status"
    shown.emulator.add_tenant("unseen")
    shown.window.press("Space")
    shown.has("tenants", "unseen")
    assert shown.window.script(pressed) == "false"


@pytest.mark.browser
def test_it_reports_a_missing_emulator_and_continues_later(window: "Browser") -> None:
    """The last data remains visible until the emulator responds again."""
    with Emulator("demo") as emulator:
        page = Shown(emulator, window)
        again = Emulator({"integrations": [{}], "tenants": [{"name": "later"}]}, port=emulator.port)
    with page.http:
        page.has("live", "The emulator does not respond")
        assert len(page.rows("tenants")) == 40
        with again:
            page.has("live", "Live")
            assert [row[0] for row in page.rows("tenants")] == ["later"]
        window.driver.get("about:blank")
        window.console()
