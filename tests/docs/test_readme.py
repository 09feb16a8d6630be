"""README.md, in the repository and on the package index."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.cli import run_on_terminal
from support.examples import example_namespace, run_example

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TARGET = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def is_relative(target: str) -> bool:
    return not target.startswith(("https://", "#"))


def test_each_relative_link_leads_to_a_file() -> None:
    """Every relative link of README.md leads to a file of the repository."""
    targets = list(filter(is_relative, TARGET.findall(README)))
    assert len(targets) > 10
    assert not [target for target in targets if not (ROOT / target).is_file()]


def test_the_package_index_shows_no_relative_link() -> None:
    """The description on the package index has no links or pictures that exist only in a clone."""
    command = [sys.executable, "-m", "hatchling", "metadata", "readme"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    description = done.stdout
    assert "## Documentation" in description
    assert not list(filter(is_relative, TARGET.findall(description)))
    assert "The output of pandium-api demo" not in description


def test_the_first_example_only_reads() -> None:
    """The first example of README.md sends only GET requests."""
    with example_namespace() as names:
        run_example(CODE.findall(README)[0], "README.md", names)
        methods = {request.method for request in names["emulator"].requests}
    assert methods == {"GET"}


@pytest.mark.posix
def test_the_picture_of_the_demo_is_up_to_date() -> None:
    """The picture shows the text of the demo, except for the figures."""
    code, screen = run_on_terminal("demo", "--tenants", "30", "--syncs", "1", lines=30)
    assert code == 0
    picture = (ROOT / "docs" / "images" / "demo.svg").read_text().replace("&#160;", " ")
    labels = re.findall(r"[a-z]+(?: [a-z]+)*", screen.text, re.IGNORECASE)
    assert {"listing tenants", "waiting for runs", "requests sent"} <= set(labels)
    assert not [label for label in labels if label not in picture]
