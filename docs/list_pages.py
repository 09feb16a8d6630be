"""A hook of mkdocs that lists the pages of the site in `llms.txt`, as https://llmstxt.org does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.nav import Section
from mkdocs.structure.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure import StructureItem
    from mkdocs.structure.nav import Navigation

__all__ = ["on_nav", "on_post_build"]

_lines: list[str] = []


def on_nav(nav: Navigation, /, **_: object) -> None:
    """Remember the pages and the sections of the navigation."""
    _lines[:] = ["", "## Pages", "", *_entries(nav.items)]


def on_post_build(*, config: MkDocsConfig) -> None:
    """Append the pages to the text that the site has a copy of."""
    with Path(config.site_dir, "llms.txt").open("a") as file:
        file.writelines(f"{line}\n" for line in _lines)


def _entries(items: Iterable[StructureItem]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Page):
            yield f"- [{item.title}]({item.url or './'})"
        elif isinstance(item, Section):
            yield from ("", f"## {item.title}", "")
            yield from _entries(item.children)
