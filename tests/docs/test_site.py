"""The documentation's site, as a reader has it in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser

ROOT = Path(__file__).parents[2]
OTHERS = """
return performance.getEntriesByType("resource").map((one) => one.name)
  .filter((name) => !name.startsWith(location.origin + "/"));
"""
PAGES = """
return [...document.querySelectorAll(".md-nav--primary a.md-nav__link[href]")]
  .map((link) => link.href).filter((url) => url.startsWith(location.origin) && !url.includes("#"));
"""
LEAD = """
const link = [...document.querySelectorAll(arguments[0])]
  .find((one) => one.textContent.trim() === arguments[1]);
if (link) link.click();
return Boolean(link);
"""
LEFT_OVER = re.compile(
    r":(?:meth|class|func|attr|exc|mod|data|obj|ref|py):\S*"
    r"|:(?:raises?|param|returns?|rtype|type|[ic]?var)\b[^<:\n]*:"
    r"|<td>(?:(?!</td>).)*Source:",
    re.DOTALL,
)
GROUND = "getComputedStyle(document.body).backgroundColor"
BROKEN = "return [...document.images].filter((one) => !one.naturalWidth).map((one) => one.src)"
COPIERS = "return document.querySelectorAll('.highlight [data-md-type=copy]').length > 2"
SAYS_COPIED = "return document.querySelector('.md-dialog--active')?.innerText.includes('Copied')"
READ = "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
PALETTE = "document.querySelector('[data-md-component=palette] label:not([hidden])')?.title"

pytestmark = pytest.mark.browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base's name
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as for its readers."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300)
    return target


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    """Serve the site."""
    handler = partial(Quiet, directory=str(built))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, ExitStack() as stack:
        thread = Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    from support.browser import browser  # noqa: PLC0415 - selenium is in the session `browser` alone

    with browser("--window-size=1440,900") as running:
        yield running


class Site:
    """The site in a browser, from its home page on."""

    def __init__(self, address: str, window: Browser) -> None:
        self.address = address
        self.window = window
        window.driver.get("about:blank")
        window.console()
        window.requested()
        self.others: list[str] = []
        self.open("")

    def open(self, path: str) -> None:
        self.window.driver.get(self.address + path)
        self.settle()

    def settle(self) -> None:
        """Wait until all is loaded, and the page's script has brought the switch to life."""
        self.window.until(f"return document.readyState === 'complete' && ({PALETTE})")
        self.others += self.window.script(OTHERS)

    def click(self, selector: str, text: str) -> None:
        assert self.window.script(LEAD, selector, text), f"no {selector} says {text}"

    def arrives(self, path: str, heading: str) -> None:
        at = "return location.href.split(/[?#]/)[0] === arguments[0]"
        self.window.until(at, self.address + path)
        shows = "return document.querySelector('h1')?.textContent.includes(arguments[0])"
        self.window.until(shows, heading)
        self.settle()


@pytest.fixture
def site(address: str, window: Browser) -> Iterator[Site]:
    """Give the home page; whatever a test does, nothing may fail and nothing may leave."""
    window.prefer("light")
    shown = Site(address, window)
    yield shown
    shown.settle()
    window.script("localStorage.clear()")
    allowed = (address, "data:", "about:", "chrome:", "blob:" + address)
    strangers = [url for url in window.requested() if not url.startswith(allowed)]
    assert (window.console(), strangers, shown.others) == ([], [], [])


def test_no_markup_is_left_over(built: Path) -> None:
    """No page shows a role or a field of a docstring as it is written, nor a source in a table."""
    pages = list(built.rglob("*.html"))
    assert len(pages) > 20
    left = [(str(page.relative_to(built)), *LEFT_OVER.findall(page.read_text())) for page in pages]
    assert [one for one in left if len(one) > 1] == []


def test_clicks_lead_from_page_to_page(site: Site) -> None:
    """The home page leads to the tutorial, and the navigation from there to each kind of page."""
    site.click(".md-content a", "tutorial")
    site.arrives("tutorial/", "Tutorial")
    for name, path in (
        ("Resume after a crash", "howto/resume/"),
        ("Errors", "reference/errors/"),
        ("Architecture", "architecture/"),
        ("Home", ""),
    ):
        site.click(".md-nav--primary .md-nav__link", name)
        site.arrives(path, "" if name == "Errors" else name if path else "pandium for Python")


def test_every_page_opens_in_peace(site: Site) -> None:
    """No page of the navigation has an error on its console, or asks another host for anything."""
    pages = site.window.script(PAGES)
    assert len(pages) > 20
    for url in pages:
        site.open(url.removeprefix(site.address))


def test_every_picture_shows_something(site: Site) -> None:
    """No page of the navigation has a picture that cannot be drawn."""
    broken = []
    for url in site.window.script(PAGES):
        site.open(url.removeprefix(site.address))
        broken += site.window.script(BROKEN)
    assert not broken


def test_the_search_finds_what_is_written(site: Site) -> None:
    """A word typed into the search lists pages that have it, and the first leads to one."""
    field = site.window.driver.find_element("css selector", ".md-search__input")
    field.click()
    field.send_keys("journal")
    site.window.until("return document.querySelector('.md-search-result__link')")
    first = site.window.driver.find_element("css selector", ".md-search-result__link")
    assert "journal" in first.text.lower()
    first.click()
    site.window.until("return location.href.split(/[?#]/)[0] !== arguments[0]", site.address)
    site.settle()
    found = site.window.script("return document.querySelector('article').innerText")
    assert "journal" in found.lower()


def test_code_can_be_copied(site: Site) -> None:
    """The button of a block of code puts that block into the clipboard, and says so."""
    names = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    grant = {"permissions": names, "origin": site.address}
    site.window.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    site.open("tutorial/")
    site.window.until(COPIERS)
    for block in site.window.driver.find_elements("css selector", ".highlight")[:3]:
        button = block.find_element("css selector", "[data-md-type=copy]")
        site.window.script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        site.window.until(SAYS_COPIED)
        copied = site.window.driver.execute_async_script(READ)
        code = site.window.script("return arguments[0].querySelector('code').innerText", block)
        assert copied.strip() == code.strip()


def test_light_and_dark_can_be_switched(site: Site) -> None:
    """It opens as the reader's system has it; the switch changes it, on the next pages, too."""
    site.window.until(f"return {PALETTE} === 'Dark'")
    light = site.window.script(f"return {GROUND}")
    site.window.driver.find_element("css selector", "label[title=Dark]").click()
    site.window.until(f"return {PALETTE} === 'Light'")
    site.window.until(f"return {GROUND} !== arguments[0]", light)
    dark = site.window.script(f"return {GROUND}")
    site.open("tutorial/")
    site.window.until(f"return {GROUND} === arguments[0]", dark)
    site.window.driver.find_element("css selector", "label[title=Light]").click()
    site.window.until(f"return {GROUND} === arguments[0]", light)
    assert site.window.script(f"return {PALETTE}") == "Dark"


def test_it_follows_the_system(site: Site) -> None:
    """Who has chosen nothing sees a dark page where the system is dark."""
    light = site.window.script(f"return {GROUND}")
    site.window.prefer("dark")

    def is_dark(_: object) -> bool:
        # Else it stays with what it has shown first, which it may just be writing down.
        site.window.script("localStorage.clear()")
        site.open("")
        return bool(site.window.script(f"return {GROUND}") != light)

    site.window.wait(is_dark)
