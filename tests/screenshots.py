"""Take the pictures for the documentation: `nox -s screenshots`."""

import io
import sys
from pathlib import Path

import httpx
from PIL import Image

from pandium.emulator import Emulator
from support.browser import browser
from support.cli import run_on_terminal
from support.recording import draw

SCRIPTS = (
    {"tenant": 2, "appears_after": 0, "phases": [["Succeeded", 0]]},
    {"tenant": 3, "appears_after": 0, "phases": [["Failed (Integration Issue)", 0]]},
    {"tenant": 8, "appears_after": 0, "phases": [["Succeeded", 0]]},
    {"tenant": 12, "appears_after": 600},
    {"appears_after": 0, "phases": [["Running", 600], ["Succeeded", 0]]},
)
SYNCED = (1, 2, 3, 4, 7, 8, 10, 11, 12)
MOST = 200_000


def main(folder: Path) -> None:
    """Save the pictures in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo.svg").write_text(record_demo())
    (folder / "emulator.png").write_bytes(photograph_emulator())


def record_demo() -> str:
    """Run the demo on a terminal and return a picture of the screen."""
    code, screen = run_on_terminal("demo", columns=80, lines=30)
    if code != 0:
        raise SystemExit(f"the demo failed with exit code {code}: {screen.text}")
    return draw(screen, "pandium-api demo")


def photograph_emulator() -> bytes:
    """Return a screenshot of the emulator's page with the demo data and some active runs."""
    with (
        Emulator("demo") as emulator,
        httpx.Client(base_url=emulator.url, headers={"x-api-key": "k"}) as http,
        browser("--window-size=1440,960", "--hide-scrollbars", "--disable-lcd-text") as window,
    ):
        for script in SCRIPTS:
            http.put("/_emulator/scripts", json=script).raise_for_status()
        http.get("/v2/tenants", params={"limit": 500, "sort_by": "id__ASC"})
        triggers = [
            http.post(f"/v2/tenants/{key}/sync", params={"mode": "normal"}).json()["trigger_id"]
            for key in SYNCED
        ]
        for trigger in triggers[-4:]:
            http.get(f"/v2/runs/triggers/{trigger}/status")
        window.driver.get(emulator.url)
        window.until("return document.getElementById('runs').innerText.includes('Running')")
        window.show_all()
        content = smaller(window.driver.get_screenshot_as_png())
    if len(content) > MOST:
        raise SystemExit(f"the picture has {len(content)} bytes, more than {MOST}")
    return content


def smaller(content: bytes) -> bytes:
    """Return the image reduced to 256 colors, which are enough for a page."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        few.save(target, "PNG", optimize=True)
    return target.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
