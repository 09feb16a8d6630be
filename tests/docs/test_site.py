"""The documentation site, as readers see it in a browser."""

from __future__ import annotations

import inspect
import json
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

import pandium
import pandium.emulator
from pandium import AsyncPandium, Pandium, models, webhooks
from support import KEY
from support.contrasts import CONTRASTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser

ROOT = Path(__file__).parents[2]
FOREIGN_RESOURCES = """
return performance.getEntriesByType("resource").map((resource) => resource.name)
  .filter((name) => !name.startsWith(location.origin + "/"));
"""
PAGES = """
return [...document.querySelectorAll(".md-nav--primary a.md-nav__link[href]")]
  .map((link) => link.href).filter((url) => url.startsWith(location.origin) && !url.includes("#"));
"""
CLICK = """
const link = [...document.querySelectorAll(arguments[0])]
  .find((element) => element.textContent.trim() === arguments[1]);
if (link) link.click();
return Boolean(link);
"""
LEFT_OVER = re.compile(
    r":(?:meth|class|func|attr|exc|mod|data|obj|ref|py):\S*"
    r"|:(?:raises?|param|returns?|rtype|type|[ic]?var)\b[^<:\n]*:"
    r"|<td>(?:(?!</td>).)*Source:",
    re.DOTALL,
)
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
BROKEN = "return [...document.images].filter((img) => !img.naturalWidth).map((img) => img.src)"
HAS_COPY_BUTTONS = "return document.querySelectorAll('.highlight [data-md-type=copy]').length > 2"
SAYS_COPIED = "return document.querySelector('.md-dialog--active')?.innerText.includes('Copied')"
READ_CLIPBOARD = "navigator.clipboard.readText().then(arguments[0], (e) => arguments[0](String(e)))"
PALETTE = "document.querySelector('[data-md-component=palette] label:not([hidden])')?.title"
CUT_OFF = """
return [...document.querySelectorAll('.doc-signature code')]
  .filter((code) => code.scrollWidth > code.clientWidth + 1).map((code) => code.innerText);
"""
BEYOND_THE_EDGE = """
const scrolls = (node) => /auto|scroll/.test(getComputedStyle(node).overflowX);
const inScrollArea = (node) => node && (scrolls(node) || inScrollArea(node.parentElement));
const article = document.querySelector("article");
return [...article.querySelectorAll("*")].filter((node) =>
  node.getBoundingClientRect().right > screen.width + 1 && !inScrollArea(node));
"""
IS_FOUND = """
return [...document.querySelectorAll('.md-search-result__link')]
  .some((link) => link.href.endsWith('#' + arguments[0]));
"""
SEARCH = """
const field = document.querySelector('.md-search__input');
field.value = arguments[0];
field.dispatchEvent(new Event('keyup'));
"""
ENOUGH = 4.5  # the contrast that WCAG 2 requires of text
# Texts in front of a translucent color, or outside the screen.
UNMEASURED = {"Skip to content", "Made with", "Material for MkDocs"}
SAMPLE = ("", "tutorial/", "howto/errors/", "reference/operations/", "emulator-server/")

pytestmark = pytest.mark.browser


def public_names() -> set[str]:
    """Return the anchor of everything that users import or call, which is its public path."""
    modules = (models, pandium.errors, webhooks, pandium.emulator)
    names = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    elsewhere = {"__version__", "errors", "models", *models.__all__, *pandium.errors.__all__}
    names |= {f"pandium.{name}" for name in set(pandium.__all__) - elsewhere}
    names.add("pandium.postgres.PostgresJournal")
    names |= operations(AsyncPandium(KEY)) | operations(Pandium(KEY))
    return names - {"pandium.emulator.Phase"} | {"phase"}  # a type, described in a section


def operations(client: AsyncPandium | Pandium) -> set[str]:
    """Return the public path of each operation of a client."""
    resources = {name: value for name, value in vars(client).items() if not name.startswith("_")}
    return {
        f"pandium.{type(client).__name__}.{resource}.{name}"
        for resource, value in resources.items()
        for name, _ in inspect.getmembers(type(value), inspect.isfunction)
        if not name.startswith("_")
    }


PUBLIC_NAMES = sorted(public_names())


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site and return its directory."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300)
    return target


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    """Serve the site and yield its URL."""
    handler = partial(QuietHandler, directory=str(built))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, ExitStack() as stack:
        thread = Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    from support.browser import browser  # noqa: PLC0415 - only the `browser` session installs selenium

    with browser("--window-size=1440,900") as running:
        yield running


class Site:
    """The site in a browser, starting at its home page."""

    def __init__(self, address: str, window: Browser) -> None:
        self.address = address
        self.window = window
        window.driver.get("about:blank")
        window.console()
        window.requested()
        self.foreign: list[str] = []
        self.open("")

    def open(self, path: str) -> None:
        self.window.driver.get(self.address + path)
        self.settle()

    def settle(self) -> None:
        """Wait until the page has loaded and its script has set up the palette switch."""
        self.window.until(f"return document.readyState === 'complete' && ({PALETTE})")
        self.foreign += self.window.script(FOREIGN_RESOURCES)

    def click(self, selector: str, text: str) -> None:
        assert self.window.script(CLICK, selector, text), f"no {selector} has the text {text}"

    def arrives(self, path: str, heading: str) -> None:
        at = "return location.href.split(/[?#]/)[0] === arguments[0]"
        self.window.until(at, self.address + path)
        shows = "return document.querySelector('h1')?.textContent.includes(arguments[0])"
        self.window.until(shows, heading)
        self.settle()


@pytest.fixture
def site(address: str, window: Browser) -> Iterator[Site]:
    """Open the home page. After the test, check for console errors and requests to other hosts."""
    window.prefer("light")
    shown = Site(address, window)
    yield shown
    shown.settle()
    window.script("localStorage.clear()")
    allowed = (address, "data:", "about:", "chrome:", "blob:" + address)
    foreign = [url for url in window.requested() if not url.startswith(allowed)]
    assert (window.console(), foreign, shown.foreign) == ([], [], [])


def test_no_markup_is_left_over(built: Path) -> None:
    """No page shows raw docstring markup, such as a role or a field."""
    pages = list(built.rglob("*.html"))
    assert len(pages) > 20
    leftovers = [
        (str(page.relative_to(built)), *LEFT_OVER.findall(page.read_text())) for page in pages
    ]
    assert [found for found in leftovers if len(found) > 1] == []


def test_clicks_lead_from_page_to_page(site: Site) -> None:
    """The home page links to the tutorial, and the navigation links to each kind of page."""
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


def test_every_page_opens_without_errors(site: Site) -> None:
    """No page logs a console error, requests another host, or has a broken image or signature."""
    pages = site.window.script(PAGES)
    assert len(pages) > 20
    broken = []
    for url in pages:
        site.open(url.removeprefix(site.address))
        broken += site.window.script(BROKEN) + site.window.script(CUT_OFF)
    assert not broken


def test_the_search_finds_pages(site: Site) -> None:
    """A search lists the pages that contain the word, and the first result opens one of them."""
    field = site.window.driver.find_element("css selector", ".md-search__input")
    field.click()
    field.send_keys("journal")
    site.window.until("return document.querySelector('.md-search-result__link')")
    first = site.window.driver.find_element("css selector", ".md-search-result__link")
    item = site.window.driver.find_element("css selector", ".md-search-result__item")
    assert "journal" in item.text.lower()
    first.click()
    site.window.until("return location.href.split(/[?#]/)[0] !== arguments[0]", site.address)
    site.settle()
    found = site.window.script("return document.querySelector('article').innerText")
    assert "journal" in found.lower()


def test_each_public_name_is_in_the_reference(built: Path) -> None:
    """Every public name has an entry in the reference under its public path, which has a text."""
    index = json.loads((built / "search" / "search_index.json").read_text())
    entries = {entry["location"].partition("#")[2]: entry["text"] for entry in index["docs"]}
    assert not [name for name in PUBLIC_NAMES if not entries.get(name)]


def test_the_reference_shows_the_types_of_attributes_of_errors(built: Path) -> None:
    """The reference shows the type of each attribute of an error."""
    page = (built / "reference" / "errors" / "index.html").read_text()
    rows = re.findall(r'<tr class="doc-section-item">(.*?)</tr>', page, re.DOTALL)
    cells = [row.split("</td>") for row in rows]
    names = [re.sub(r"<[^>]+>|\s", "", name) for name, *_ in cells]
    assert {"status_code", "resume_skip", "last_status"} <= set(names)
    untyped = [
        name for name, (_, kind, *_) in zip(names, cells, strict=True) if "<code>" not in kind
    ]
    assert not untyped


def test_llms_txt_lists_each_page(built: Path) -> None:
    """`llms.txt` begins with a title and a summary, and links every page of the site once."""
    text = (built / "llms.txt").read_text()
    assert re.match(r"# \S.*\n\n> \S", text)
    links = re.findall(r"\]\((.*)\)$", text, re.MULTILINE)
    pages = [path.parent.relative_to(built).as_posix() for path in built.rglob("index.html")]
    assert sorted(link.strip("./") for link in links) == sorted(page.strip(".") for page in pages)


def test_no_internal_name_is_in_the_reference(built: Path) -> None:
    """No heading of the reference has the path of a private module."""
    for page in (built / "reference").rglob("index.html"):
        assert not re.findall(r'<h\d id="pandium\._[^"]*"', page.read_text()), page


def test_the_search_finds_each_public_name(site: Site) -> None:
    """A search for a public name lists its entry in the reference among the first results."""
    site.window.driver.find_element("css selector", ".md-search__input").click()
    # The operations of both clients have the same names. A search shows those of the async client
    # first.
    for name in (name for name in PUBLIC_NAMES if not name.startswith("pandium.Pandium.")):
        words = [word for word in name.split(".") if word not in ("pandium", "AsyncPandium")]
        site.window.script(SEARCH, " ".join(words) or "AsyncPandium")
        site.window.until(IS_FOUND, name)


def test_no_page_is_wider_than_a_phone(site: Site) -> None:
    """On a phone, nothing is cut off. Only tables and code are scrolled sideways."""
    urls = site.window.script(PAGES)
    with site.window.phone():
        wide = []
        for url in urls:
            site.open(url.removeprefix(site.address))
            if site.window.script(BEYOND_THE_EDGE) or site.window.script(CUT_OFF):
                wide.append(url)
    assert not wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(site: Site, scheme: str) -> None:
    """Every text has the contrast that WCAG 2 requires, in both color schemes."""
    site.window.prefer(scheme)
    site.window.script("localStorage.clear()")
    for path in SAMPLE:
        site.open(path)
        low = [
            (text, contrast)
            for text, contrast in site.window.script(CONTRASTS)
            if contrast < ENOUGH and text.strip() not in UNMEASURED
        ]
        assert low == []


def test_the_keyboard_suffices(site: Site) -> None:
    """The first key leads to the content, and a search needs no pointer."""
    assert site.window.press("Tab") == "Skip to content"
    body = site.window.driver.switch_to.active_element
    body.send_keys("/")
    site.window.until("return document.activeElement.matches('.md-search__input')")
    site.window.driver.switch_to.active_element.send_keys("journal")
    site.window.until("return document.querySelector('.md-search-result__link')")
    site.window.driver.switch_to.active_element.send_keys("\n")
    site.window.until("return location.href.split(/[?#]/)[0] !== arguments[0]", site.address)
    site.settle()


def test_code_can_be_copied(site: Site) -> None:
    """The button of a code block copies the code to the clipboard and confirms it."""
    names = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    grant = {"permissions": names, "origin": site.address}
    site.window.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
    site.open("tutorial/")
    site.window.until(HAS_COPY_BUTTONS)
    for block in site.window.driver.find_elements("css selector", ".highlight")[:3]:
        button = block.find_element("css selector", "[data-md-type=copy]")
        site.window.script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()
        site.window.until(SAYS_COPIED)
        copied = site.window.driver.execute_async_script(READ_CLIPBOARD)
        code = site.window.script("return arguments[0].querySelector('code').innerText", block)
        assert copied.strip() == code.strip()


def test_light_and_dark_can_be_switched(site: Site) -> None:
    """The site starts with the system's color scheme. The switch changes it on all pages."""
    site.window.until(f"return {PALETTE} === 'Dark'")
    light = site.window.script(f"return {BACKGROUND}")
    site.window.driver.find_element("css selector", "label[title=Dark]").click()
    site.window.until(f"return {PALETTE} === 'Light'")
    site.window.until(f"return {BACKGROUND} !== arguments[0]", light)
    dark = site.window.script(f"return {BACKGROUND}")
    site.open("tutorial/")
    site.window.until(f"return {BACKGROUND} === arguments[0]", dark)
    site.window.driver.find_element("css selector", "label[title=Light]").click()
    site.window.until(f"return {BACKGROUND} === arguments[0]", light)
    assert site.window.script(f"return {PALETTE}") == "Dark"


def test_the_site_follows_the_system(site: Site) -> None:
    """Until the reader selects a color scheme, the site uses the system's."""
    light = site.window.script(f"return {BACKGROUND}")
    site.window.prefer("dark")

    def is_dark(_: object) -> bool:
        # Otherwise, the site keeps the color scheme that it stored when it was first opened.
        site.window.script("localStorage.clear()")
        site.open("")
        return bool(site.window.script(f"return {BACKGROUND}") != light)

    site.window.wait(is_dark)
