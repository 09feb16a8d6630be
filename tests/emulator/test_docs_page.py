"""The page that documents the control API."""

from __future__ import annotations

import re
import shlex
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pandium.emulator import Emulator, Stall
from pandium.emulator.control.control_api import control_routes
from pandium.emulator.control.docs_page import render

if TYPE_CHECKING:
    PairList = list[tuple[str, str | None]]

ROOT = Path(__file__).parents[2]
DOCS, DOCUMENT = "/_emulator/docs", "/_emulator/openapi.json"
EXAMPLES = re.compile(r"<pre>(curl .*?)</pre>", re.DOTALL)


class Links(HTMLParser):
    """The ids and links of a page, and the tags that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: PairList) -> None:
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read() -> tuple[httpx.Response, dict[str, Any]]:
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, timeout=60) as http:
        document: dict[str, Any] = http.get(DOCUMENT).json()
        return http.get(DOCS), document


def examples() -> list[str]:
    """Return the commands on the page, without the emulator's URL."""
    return list(map(unescape, EXAMPLES.findall(render(control_routes().openapi(), ""))))


def test_the_page_has_every_operation_model_and_field() -> None:
    """Each has a section, and each link on the page leads to a section."""
    response, document = read()
    page = Links(response.text)
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    models = document["components"]["schemas"]
    expected = {one["operationId"] for one in operations} | {f"model-{name}" for name in models}
    assert expected <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert {one[1:] for one in page.links if one.startswith("#")} <= set(page.ids)
    for model in models.values():
        for name in model.get("properties", ()):
            assert f"<code>{name}</code>" in response.text
    assert page.open == []


def test_the_page_loads_nothing() -> None:
    """Its only style is allowed by a hash. It has no script and links only to the emulator."""
    response, _ = read()
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    rules = response.headers["content-security-policy"].split("; ")
    policy = dict(rule.split(" ", 1) for rule in rules)
    assert policy["default-src"] == policy["script-src"] == "'none'"
    assert policy["style-src"].startswith("'sha256-")
    assert not re.search(r"<(script|img|link|iframe)", response.text)
    page = Links(response.text)
    assert {one for one in page.links if not one.startswith("#")} == {"/", DOCUMENT}


def test_the_page_is_only_read_and_not_recorded() -> None:
    """GET and HEAD are allowed, and another site's name is rejected."""
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, timeout=60) as http:
        assert http.head(DOCS).status_code == 200
        assert http.post(DOCS).status_code == 405
        assert http.get(DOCS, headers={"host": "evil.example"}).status_code == 403
        assert not emulator.requests


@pytest.mark.parametrize("command", examples())
def test_each_example_works_as_it_is_shown(command: str, tmp_path: Path) -> None:
    """The command's request succeeds, given a run, a fault and a change with the id 1."""
    with Emulator("demo", state_file=tmp_path / "state.json") as emulator:
        sync = f"{emulator.url}/v2/tenants/1/sync?mode=init"
        httpx.post(sync, headers={"x-api-key": "k"}).raise_for_status()
        emulator.faults.add(None, Stall())
        emulator.drift.before(None, emulator.drift.archive())
        words = shlex.split(command.replace("\\\n", ""))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        [path] = [word for word in words if word.startswith("/")]
        body = words[words.index("-d") + 1] if "-d" in words else None
        headers = {"content-type": "application/json"} if "-H" in words else {}
        response = httpx.request(method, emulator.url + path, content=body, headers=headers)
        assert response.is_success, response.text


def test_each_body_has_an_example() -> None:
    """If a request needs a body, the page shows a command that sends one."""
    response, document = read()
    bodies = [
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert len(bodies) > 10
    for name in bodies:
        article = response.text.partition(f'<article id="{name}">')[2].partition("</article>")[0]
        assert " -d &#x27;{" in article, name


def test_the_documentation_lists_every_operation() -> None:
    """The table in docs/ has exactly the operations of the control API."""
    _, document = read()
    operations = {
        (method.upper(), path.removeprefix("/_emulator"))
        for path, methods in document["paths"].items()
        for method in methods
    }
    text = (ROOT / "docs" / "emulator-server.md").read_text()
    [table] = re.findall(r"(?<=\n\| request \| description \|\n).*?(?=\n\n)", text, re.DOTALL)
    listed = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]+)`", table)
    assert set(listed) == operations
    assert len(listed) == len(operations)


def test_texts_are_escaped() -> None:
    """Markup is shown as text, backquotes mark code, and an unknown body has no example."""
    evil = "<script>&`a<b`"
    operation = {
        "operationId": "x",
        "description": evil,
        "parameters": [
            {"name": evil, "required": False, "schema": {"enum": [evil]}, "description": evil}
        ],
        "requestBody": {"content": {"application/json": {"schema": {"const": evil}}}},
        "responses": {"200": {"description": evil}},
    }
    model = {
        "description": evil,
        "required": ["a"],
        "properties": {"a": {"description": evil, "type": "array"}, "b": {"default": evil}},
    }
    document = {
        "info": {"title": evil, "description": evil},
        "paths": {"/a<b": {"get": operation}},
        "components": {"schemas": {"M<": model}},
    }
    text = render(document, "http://127.0.0.1:1")
    assert "<script" not in text
    assert "&lt;script&gt;&amp;<code>a&lt;b</code>" in text
    assert "<strong>Other</strong>" in text
    assert "<pre>curl" not in text
