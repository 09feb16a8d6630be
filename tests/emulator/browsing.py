"""A headless Chromium that reaches nothing but this machine."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def _found(*names: str) -> str:
    for name in names:
        if path := shutil.which(name):
            return path
    raise RuntimeError(f"none of {', '.join(names)} is installed: run .ci/browser")


@contextmanager
def browser(*flags: str) -> Iterator["Browser"]:
    """Run a browser with a profile of its own."""
    options = ChromeOptions()
    options.binary_location = _found(*BROWSERS)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = Chrome(options, Service(_found("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


class Browser:
    """A browser, what it has said on its console, and what it has asked for."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def script(self, code: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(code, *arguments)

    def _log(self, name: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(name))  # type: ignore[no-untyped-call]  # selenium's

    def console(self) -> list[str]:
        """Return what the console has been told since the last time."""
        return [one["message"] for one in self._log("browser")]

    def requested(self) -> list[str]:
        """Return the URLs that were asked for since the last time."""
        events = [json.loads(one["message"])["message"] for one in self._log("performance")]
        return [
            one["params"]["request"]["url"]
            for one in events
            if one["method"] == "Network.requestWillBeSent"
        ]
