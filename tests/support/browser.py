"""A headless Chromium that can only reach the local machine."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30
KEYS = {"Tab": Keys.TAB, "Shift": Keys.SHIFT, "Space": Keys.SPACE}
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
    """Run a browser with a separate profile."""
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
    """A browser that records its console messages and requests."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def script(self, code: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(code, *arguments)

    def wait(self, is_so: Callable[[object], object]) -> None:
        """Wait until a condition holds, without a time limit."""
        WebDriverWait(self.driver, PATIENCE, 0.05).until(is_so)

    def until(self, code: str, *arguments: Any) -> None:
        """Wait until a script returns true."""
        self.wait(lambda _: self.script(code, *arguments))

    def type(self, element: str, text: str) -> None:
        """Type text into an empty field."""
        field = self.driver.find_element("id", element)
        field.clear()
        field.send_keys(text)

    def click(self, selector: str) -> None:
        """Click the first element that matches a selector."""
        self.driver.find_element("css selector", selector).click()

    @contextmanager
    def phone(self) -> Iterator[None]:
        """Emulate the screen of a phone."""
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def press(self, keys: str) -> str:
        """Press keys such as "Shift+Tab" and return the name of the focused element."""
        *held, key = (KEYS[one] for one in keys.split("+"))
        actions = ActionChains(self.driver)
        for one in held:
            actions.key_down(one)
        actions.send_keys(key)
        for one in held:
            actions.key_up(one)
        actions.perform()
        name: str = self.driver.switch_to.active_element.accessible_name
        return name

    def prefer(self, scheme: str) -> None:
        """Emulate a user's preference for a light or dark color scheme."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def show_all(self) -> None:
        """Resize the window to the height of the page."""
        height = self.script("return document.documentElement.scrollHeight")
        size = {"width": 1440, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def _log(self, name: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(name))  # type: ignore[no-untyped-call]  # untyped

    def console(self) -> list[str]:
        """Return the console messages since the last call."""
        return [one["message"] for one in self._log("browser")]

    def requested(self) -> list[str]:
        """Return the URLs requested since the last call."""
        events = [json.loads(one["message"])["message"] for one in self._log("performance")]
        return [
            one["params"]["request"]["url"]
            for one in events
            if one["method"] == "Network.requestWillBeSent"
        ]
