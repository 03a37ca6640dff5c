"""Reports in a real browser: light and dark, on a phone, printed, with skeletons that move."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser

from pipeline.report import store_report
from pipeline.report.report import write_report
from pipeline.store.store import Store
from tests.support import browser
from trainer.report.run_report import RunReportRequest, build_run_report
from trainer.runs.run import Run


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(shared_store: Store, raw: Path, shared_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "store": store_report.build_store_report(shared_store, [raw], Path("nowhere")),
        "run": build_run_report(RunReportRequest(run=shared_run, device=torch.device("cpu"))),
    }
    for name, gathered in made.items():
        write_report(gathered, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in made}


@pytest.mark.parametrize("name", ["store", "run"])
def test_a_report_asks_for_nothing_and_its_skeletons_move(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    with browser.opened(chromium, pages[name]) as page:
        assert page.locator("h1").count() == 1
        page.locator("canvas").first.scroll_into_view_if_needed()
        clock = "SkeletonPlayer.all.slice(0, 2).map((player) => SkeletonPlayer.all[0].clock === player.clock)"
        assert page.evaluate(clock) == [True, name == "store"]  # before and after are one time, neighbours are not
        first = "document.querySelector('canvas').toDataURL()"
        before = page.evaluate(first)
        browser.until(page, f"{first} !== {before!r}")
        assert browser.ink(page, "canvas") > 100
        button = page.locator("button.motion").first
        assert button.text_content() == "Pause all skeletons"
        button.press("Enter")
        still = page.evaluate("SkeletonPlayer.all.map((player) => player.clock.playing)")
        assert still
        assert not any(still)
        assert button.text_content() == "Play all skeletons"


@pytest.mark.parametrize("name", ["store", "run"])
def test_a_report_fits_a_phone_and_a_screen(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    for width in (390, 1200):
        with browser.opened(chromium, pages[name], width=width) as page:
            page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
            assert browser.overflows(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["store", "run"])
def test_a_report_follows_the_colour_scheme(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    told = []
    for dark in (False, True):
        with browser.opened(chromium, pages[name], dark=dark) as page:
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            letters = page.evaluate("getComputedStyle(document.querySelector('svg text')).fill")
            told.append((ground, letters))
    (paper, ink), (dark_paper, dark_ink) = (map(lightness, pair) for pair in told)
    assert paper > 200 > 100 > ink
    assert dark_paper < 100 < 200 < dark_ink


def lightness(colour: str) -> float:
    return sum(float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3


def test_a_report_prints_and_works_without_a_script(chromium: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    with browser.opened(chromium, pages["run"]) as page:
        page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["run"].as_uri())
    assert page.locator("h2").count() == 8
    assert page.locator(".chart svg:visible").count()
    context.close()


def test_every_link_leads_to_its_section_by_keyboard(chromium: Browser, pages: dict[str, Path]) -> None:
    with browser.opened(chromium, pages["store"]) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('href')") == "#counts"
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        browser.until(page, "location.hash === '#lengths' && scrollY > 0")


def test_words_and_marks_can_be_read_in_both_schemes(chromium: Browser, pages: dict[str, Path]) -> None:
    """Contrast of every colour that text has, against the page: 4.5 to 1 (WCAG 2.2, AA)."""
    for dark in (False, True):
        with browser.opened(chromium, pages["run"], dark=dark) as page:
            colours: list[list[str]] = page.evaluate(
                """() => {
                    const hasWords = (node) => node.nodeType === 3 && node.data.trim();
                    const own = (element) => [...element.childNodes].some(hasWords);
                    const pairs = [...document.querySelectorAll("body *")].filter((element) => own(element)
                        && !element.closest("script, style, svg") && element.getClientRects().length);
                    const behind = (element) => {
                        for (; element; element = element.parentElement) {
                            const colour = getComputedStyle(element).backgroundColor;
                            if (!colour.endsWith(", 0)")) return colour;
                        }
                    };
                    return [...new Set(pairs.map((element) => `${getComputedStyle(element).color}|${behind(element)}`))]
                        .map((pair) => pair.split("|"));
                }"""
            )
            assert len(colours) >= 3
            for words, ground in colours:
                light, deep = sorted((luminance(words), luminance(ground)), reverse=True)
                assert (light + 0.05) / (deep + 0.05) >= 4.5, (words, ground)


def luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2.2)."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
