"""A Chromium without a window, and what an annotator does in it."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: A browser of its own that asks nobody anything; a container gives it no sandbox.
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1440,900",
    "--force-device-scale-factor=1",
)  # fmt: skip
PATIENCE_S = 120.0


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser with a new profile; ended when the block is left."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


class Annotator:
    """Someone at the page, who only sees and does what a person can."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def enter(self, address: str, name: str) -> None:
        self.driver.get(address)
        self.until(lambda: self.shown("enter"))
        self.driver.find_element("id", "given").send_keys(name + "\n")
        self.until(lambda: self.shown("work") or self.shown("end"))

    def shown(self, part: str) -> bool:
        return bool(self.driver.find_element("id", part).is_displayed())

    def text(self, part: str) -> str:
        return str(self.driver.find_element("id", part).text)

    def site(self) -> int | None:
        """Number of the site whose picture is shown."""
        if not self.shown("work"):
            return None
        source = self.driver.find_element("id", "picture").get_attribute("src")
        return int(re.search(r"picture/(\d+)/", source)[1])  # type: ignore[index]

    def offers(self) -> list[str]:
        return [
            b.get_attribute("data-label") for b in self.driver.find_elements("css selector", "#offers button")
        ]

    def press(self, key: str) -> None:
        self.driver.find_element("tag name", "body").send_keys(key)

    def busy(self) -> bool:
        return self.driver.find_element("tag name", "body").get_attribute("aria-busy") is not None

    def say(self, key: str) -> None:
        """Press a key, and wait until that was kept."""
        kept = self.text("count"), self.site()
        self.press(key)
        self.until(lambda: not self.busy() and (self.text("count"), self.site()) != kept)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"it did not come true: {self.driver.page_source[-2000:]}"
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """What the browser says went wrong: errors of the script, of the policy, of the page."""
        return [str(entry) for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
