"""Open pages in headless Chromium through Playwright. Tests are skipped where there is no Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox",  # the sandbox does not start for root; only our own pages are opened
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium installed on the system."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("Chromium is not installed (Debian package: chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, *, width: int = 1200, dark: bool = False) -> Iterator[Page]:
    """Open a page from a file. It must not make other requests, and its scripts must not log or raise anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(path.as_uri())
    yield page
    assert requests == [path.as_uri()]
    assert messages == []
    context.close()


def overflows(page: Page) -> list[str]:
    """Return elements beyond the right edge of the window, which would need horizontal scrolling."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((element) => {
            const box = element.getBoundingClientRect();
            return box.width && box.right > document.documentElement.clientWidth + 1 && !element.closest(".scroll");
        }).map((element) => element.outerHTML.slice(0, 80))"""
    )
    return found


def ink(page: Page, canvas: str) -> int:
    """Return the number of pixels of a canvas that are not transparent."""
    count: int = page.evaluate(
        """(selector) => {
            const canvas = document.querySelector(selector);
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let inked = 0;
            for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
            return inked;
        }""",
        canvas,
    )
    return count


def until(page: Page, expression: str) -> None:
    """Wait until an expression is true. Playwright's own wait evaluates text, which the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not true within 10 s: {expression}")
