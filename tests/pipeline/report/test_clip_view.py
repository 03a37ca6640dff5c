"""Clips to look at: which are meant, what is written, and what the page does in a real browser."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser, Page

from cli import main
from pipeline.errors import ArtifactError, ConfigError, SkelepipeError
from pipeline.report import clip_view, html
from pipeline.report.clip_view import ClipView, collect_clips, find_row, find_rows, write_clip_view, write_page
from pipeline.report.figures import Figure, Panel
from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.class_title import class_title
from pipeline.store.store import Store
from tests.support.browser import chromium, ink, opened, overflows, until
from trainer.report.mix_view import mix_figure

NOWHERE = Path("never")


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["view", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


# Which clips are meant.


def test_a_clip_goes_by_its_name_in_any_case(shared_store: Store) -> None:
    name = shared_store.names[5]
    assert find_rows(shared_store, [name]) == [5]
    assert find_rows(shared_store, [name.lower()]) == [5]


def test_a_pattern_means_all_that_fit_in_order_and_once(shared_store: Store) -> None:
    found = find_rows(shared_store, ["S001*", "s001c001*"])
    assert found == [row for row, name in enumerate(shared_store.names) if name.startswith("S001")]


def test_without_a_name_there_is_one_of_each_class(shared_store: Store) -> None:
    labels = shared_store.columns["label"][find_rows(shared_store, [])]
    assert sorted(labels) == sorted(set(shared_store.columns["label"]))


def test_an_unknown_name_is_refused_with_some_that_there_are(shared_store: Store) -> None:
    with pytest.raises(ArtifactError, match=rf"no clip and no class is called 'S999'.*{shared_store.names[0]}"):
        find_rows(shared_store, ["S999"])


def test_clips_of_a_class_are_found_by_its_name_or_number(shared_store: Store) -> None:
    expected = np.flatnonzero(shared_store.columns["label"] == 1)[:6].tolist()
    for words in ("A002", "a002", "Eat meal/snack", "A002 eat meal/snack"):
        assert find_rows(shared_store, [words]) == expected
    assert [class_title(5, "pickup"), class_title(5, "squat"), class_title(5, "")] == ["A006 pickup", "5 squat", "5"]


def test_more_than_a_page_takes_is_refused(shared_store: Store) -> None:
    with pytest.raises(ArtifactError, match="72 clips match, a page can show 48"):
        find_rows(shared_store, ["*"])
    with pytest.raises(SkelepipeError, match=r"'S00\[1-3\]\*' matches 13 clips"):
        find_row(shared_store, "S00[1-3]*")


# What is written.


def test_motion_comes_back_to_half_a_millimetre() -> None:
    rng = np.random.default_rng(0)
    xyz = rng.normal(0, 3, (2, 9, 25, 3)).astype(np.float32)
    xyz[1, 3:5] = np.nan
    xyz[0, 2] = 0
    xyz[0, 6, 7] = 0  # where a recipe has put the origin
    told = html.encode_motion(xyz, KINECT_V2)
    whole = np.frombuffer(base64.b64decode(told["data"]), "<i2").reshape(told["shape"] + [3])
    missing = np.isnan(xyz).any(axis=-1)
    missing[0, 2] = True
    assert ((whole == html.MISSING).all(axis=-1) == missing).all()
    assert np.abs(whole[~missing] * told["step"] - xyz[~missing]).max() <= told["step"] / 2 + 1e-6
    assert told["step"] <= 0.0005


def test_far_away_joints_fit_in_sixteen_bits() -> None:
    xyz = np.full((1, 2, 25, 3), 1e6, np.float32)
    told = html.encode_motion(xyz, KINECT_V2)
    whole = np.frombuffer(base64.b64decode(told["data"]), "<i2")
    assert whole.max() == 32767


def test_long_clips_can_be_thinned() -> None:
    told = html.encode_motion(np.ones((1, 100, 25, 3), np.float32), KINECT_V2, max_frames=30)
    assert told["shape"][1] == 25
    assert told["rate"] == html.FRAMES_PER_SECOND / 4


def test_what_files_say_is_escaped(own_store: Path, tmp_path: Path) -> None:
    store = Store(own_store)
    store.names[0] = "</script><script>alert(1)</script>"
    store.attributes["classes"] = {str(label): "<b>&'\"" for label in range(99)}
    looked = collect_clips(store, [0], (), NOWHERE)
    write_page(looked, store, tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text()
    assert "<script>alert" not in text
    assert "<b>&" not in text


def test_the_same_clip_gives_the_same_bytes(shared_store: Store, tmp_path: Path) -> None:
    shortest = shared_store.names[int(shared_store.columns["frames"].argmin())]
    for name in ("one", "two"):
        run(shared_store.path, shortest, "--html", tmp_path / f"{name}.html",
            "--png", tmp_path / f"{name}.svg", "--gif", tmp_path / f"{name}.gif", "--poses", 3)  # fmt: skip
    for suffix in ("html", "svg", "gif"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_pictures_show_something_that_moves(shared_store: Store, tmp_path: Path) -> None:
    run(
        shared_store.path, shared_store.names[0], "--gif", tmp_path / "a.gif", "--png", tmp_path / "a.png", "--poses", 4
    )
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == -(-int(shared_store.columns["frames"][0]) // 2)  # type: ignore[attr-defined]
        first = np.asarray(gif.convert("L"))
        gif.seek(gif.n_frames // 2)  # type: ignore[attr-defined]
        assert (np.asarray(gif.convert("L")) != first).any()
        assert gif.info["duration"] == 70
    with Image.open(tmp_path / "a.png") as png:
        assert (np.asarray(png.convert("L")) < 128).sum() > 500


@pytest.mark.parametrize(
    ("option", "name", "expected"), [("--png", "a.jpg", ".png, .svg, .pdf"), ("--gif", "a.png", ".gif")]
)
def test_other_suffixes_are_refused(option: str, name: str, expected: str, shared_store: Store, tmp_path: Path) -> None:
    said = run(shared_store.path, shared_store.names[0], option, tmp_path / name, code=ConfigError.exit_code)
    assert f"{tmp_path / name}: expected a name that ends in {expected}" in said
    assert not (tmp_path / name).exists()


def test_the_page_is_called_after_the_clip(
    shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = json.loads(run(shared_store.path, shared_store.names[0], "--json").splitlines()[-1])
    assert told["written"] == [f"{shared_store.names[0]}.html"]
    assert told["clips"] == [shared_store.names[0]]
    assert any("raw/ does not exist" in note for note in told["notes"])


def test_a_raw_folder_of_something_else_is_told_and_does_no_harm(
    shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    assert "raw/ contains no ntu60 recording" in run(shared_store.path, shared_store.names[0])
    assert "no ntu60 recording there" in run(shared_store.path, shared_store.names[0], "--raw", "raw", code=1)


def test_mixing_takes_no_samples_and_two_that_are_there(shared_store: Store) -> None:
    one, two = shared_store.names[:2]
    assert "--mix and SAMPLE cannot be combined" in run(shared_store.path, one, "--mix", one, two, code=2)
    assert "no clip and no class is called 'never'" in run(shared_store.path, "--mix", one, "never", code=1)


def test_what_is_mixed_is_what_training_mixes(shared_store: Store) -> None:
    """Under the mask the mixed clip is the partner's, elsewhere the host's, and the cells say so."""
    figure = mix_figure(shared_store, 0, 3, seed=4)
    host, partner, mixed = (panel.xyz for panel in figure.panels)
    owner = figure.panels[2].owner
    assert owner is not None
    assert figure.cells is not None
    assert (owner[::4] == figure.cells.mask).all()
    assert 0 < figure.cells.pasted < figure.cells.mask.size == figure.cells.pasted + figure.cells.kept
    assert np.array_equal(mixed[0][owner], partner[0][owner])
    assert np.array_equal(mixed[0][~owner], host[0][~owner])
    other = mix_figure(shared_store, 0, 3, seed=5)
    assert other.cells is not None
    assert (other.cells.mask != figure.cells.mask).any()


# What the page does.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def clips(shared_store: Store, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody alone, and two people."""
    one = int(np.flatnonzero(shared_store.columns["bodies"] == 1)[0])
    two = int(np.flatnonzero(shared_store.columns["bodies"] == 2)[0])
    out = tmp_path_factory.mktemp("pages") / "clips.html"
    write_page(collect_clips(shared_store, [one, two], [raw], NOWHERE), shared_store, out)
    return out


@pytest.fixture(scope="module")
def mixed(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pages") / "mixed.html"
    write_page(ClipView(figures=[mix_figure(shared_store, 0, 1)]), shared_store, out)
    return out


def frame(page: Page, stage: int = 0) -> int:
    found: int = page.evaluate(f"document.querySelectorAll('.stage')[{stage}].stage.clock.frame")
    return found


def state(page: Page, what: str, stage: int = 0) -> object:
    return page.evaluate(f"document.querySelectorAll('.stage')[{stage}].stage.view.{what}")


def drawn(page: Page, canvas: int = 0) -> bytes:
    """One canvas as a picture, once what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".panel canvas").nth(canvas).screenshot()


def stopped(page: Page) -> None:
    page.locator(".stage").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Home")


def test_it_plays_pauses_and_scrubs(browser: Browser, clips: Path) -> None:
    with opened(browser, clips) as page:
        until(page, "document.querySelector('.stage').stage.clock.frame > 3")
        play = page.locator("[data-do=play]").first
        assert play.inner_text() == "Pause"
        play.click()
        at = frame(page)
        picture = drawn(page)
        assert play.inner_text() == "Play"
        page.wait_for_timeout(150)
        assert frame(page) == at
        assert drawn(page) == picture
        page.locator("[data-do=scrub]").first.fill("20")
        assert frame(page) == 20
        assert drawn(page) != picture
        assert page.locator("[data-do=frame]").first.inner_text().startswith("frame 21 of ")


def test_it_turns_with_the_mouse_and_both_sides_turn_together(browser: Browser, clips: Path) -> None:
    with opened(browser, clips) as page:
        stopped(page)
        before = [drawn(page, 0), drawn(page, 1)]
        box = page.locator(".panel canvas").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 180, box["y"] + 120)
        page.mouse.up()
        assert state(page, "yaw") == pytest.approx(-0.35 + 0.8, abs=1e-6)
        after = [drawn(page, 0), drawn(page, 1)]
        assert before[0] != after[0]
        assert before[1] != after[1]
        page.locator("[data-do=reset]").first.click()
        page.mouse.move(0, 0)
        page.locator(".stage").first.focus()
        assert drawn(page, 0) == before[0]


def spot(page: Page, joint: str, canvas: int = 0) -> tuple[float, float]:
    """Where a joint of the first person is drawn, in the window."""
    at = page.evaluate(
        """([place, name]) => {
            const canvas = document.querySelectorAll(".panel canvas")[place], player = canvas.skeletonPlayer;
            const box = canvas.getBoundingClientRect();
            const found = player.spots.find((spot) => player.skeleton.joints[spot.joint] === name && spot.body === 0);
            return [box.left + found.x, box.top + found.y];
        }""",
        [canvas, joint],
    )
    return at[0], at[1]


def test_a_joint_tells_its_name_and_place_and_draws_its_path(
    browser: Browser, clips: Path, shared_store: Store
) -> None:
    with opened(browser, clips) as page:
        stopped(page)
        drawn(page)
        page.mouse.move(*spot(page, "head", canvas=1))
        tip = page.locator(".tip")
        name, place = tip.inner_text().splitlines()
        assert name == "head"
        row = find_rows(shared_store, [page.locator("h2 .id").first.inner_text()])[0]
        x, y, z = shared_store.clip(row)[0, 0, KINECT_V2.index("head")]
        assert place.split()[::2] == ["x", "y", "z", "m"]
        assert np.allclose([float(word) for word in place.split()[1::2]], [x, y, z], atol=0.0011)
        without = drawn(page, 1)
        page.mouse.down()
        page.mouse.up()
        assert state(page, "path") == KINECT_V2.index("head")
        page.mouse.move(0, 0)
        assert tip.is_hidden()
        assert drawn(page, 1) != without


def test_the_keyboard_does_all_of_it(browser: Browser, clips: Path) -> None:
    with opened(browser, clips) as page:
        stopped(page)
        assert frame(page) == 0
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert frame(page) == 2
        page.keyboard.press("ArrowLeft")
        assert frame(page) == 1
        page.keyboard.press("End")
        assert frame(page) == page.evaluate("document.querySelector('.stage').stage.clock.frames") - 1
        page.keyboard.press("ArrowRight")
        assert frame(page) == 0
        page.keyboard.press("Shift+ArrowRight")
        assert state(page, "yaw") == pytest.approx(-0.25)
        without = drawn(page)
        page.keyboard.press("n")
        assert drawn(page) != without
        page.keyboard.press("+")
        assert page.locator("[data-do=speed]").first.input_value() == "2"
        page.keyboard.press("r")
        assert state(page, "yaw") == pytest.approx(-0.35)
        assert not state(page, "names")


def test_people_are_both_there_and_can_be_hidden(browser: Browser, clips: Path) -> None:
    with opened(browser, clips) as page:
        second = page.locator(".stage").nth(1)
        second.scroll_into_view_if_needed()
        second.focus()
        page.keyboard.press("Space")
        page.keyboard.press("Home")
        spots = "document.querySelectorAll('.panel canvas')[3].skeletonPlayer.spots.map((spot) => spot.body)"
        drawn(page, 3)
        assert set(page.evaluate(spots)) == {0, 1}
        page.get_by_role("button", name="Person 2").click()
        drawn(page, 3)
        assert set(page.evaluate(spots)) == {0}
        page.keyboard.press("2")
        drawn(page, 3)
        assert set(page.evaluate(spots)) == {0, 1}


def test_cells_lead_to_their_frames_and_joints(browser: Browser, mixed: Path) -> None:
    with opened(browser, mixed) as page:
        stopped(page)
        cell = page.locator(".cells [data-t='5'][data-v='3']")
        cell.click()
        assert frame(page) == 20
        assert page.locator(".tip").inner_text().splitlines()[:2] == ["head", "frames 21 to 24"]
        assert state(page, "joint") == 3
        now = page.locator(".cells .now")
        assert float(now.get_attribute("x") or 0) == 130 + 5 * 40
        assert page.locator(".cells .partner").count() + page.locator(".cells .host").count() == 16 * 25


def test_the_pasted_frames_are_played_until_a_frame_is_chosen(browser: Browser, mixed: Path) -> None:
    clock = "document.querySelector('.stage').stage.clock"
    with opened(browser, mixed) as page:
        first, last = page.evaluate(f"{clock}.loop")
        pasted = page.locator(".cells .partner").evaluate_all("cells => cells.map(cell => Number(cell.dataset.t))")
        assert (first, last) == (4 * min(pasted), 4 * (max(pasted) + 1))
        page.evaluate(f"{clock}.playing = true; {clock}.seek({last - 0.5}); {clock}.advance(0.1)")
        assert first <= frame(page) < last
        page.locator(".stage").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate(f"{clock}.loop") is None


def test_repaired_joints_have_a_ring(browser: Browser, shared_store: Store, tmp_path: Path) -> None:
    xyz = shared_store.clip(0)
    repaired = np.zeros(xyz.shape[:3], bool)
    repaired[0, 0, 3] = True
    pages = {}
    for name, ringed in (("plain", None), ("ringed", repaired)):
        figure = Figure(title="t", layout=shared_store.layout, panels=[Panel(title="p", xyz=xyz, repaired=ringed)])
        write_page(ClipView(figures=[figure]), shared_store, tmp_path / f"{name}.html")
        with opened(browser, tmp_path / f"{name}.html") as page:
            stopped(page)
            pages[name, 0] = drawn(page)
            page.keyboard.press("ArrowRight")
            pages[name, 1] = drawn(page)
    assert pages["plain", 0] != pages["ringed", 0]
    assert pages["plain", 1] == pages["ringed", 1]


def test_the_note_on_rings_counts_joints_and_names_frames() -> None:
    repaired = np.zeros((1, 9, 25), bool)
    assert clip_view._describe_repairs(None) == clip_view._describe_repairs(repaired) == ""
    repaired[0, 3, 4] = True
    assert clip_view._describe_repairs(repaired) == "rings: 1 repaired joint, frame 4"
    repaired[0, 6, :2] = True
    assert clip_view._describe_repairs(repaired) == "rings: 3 repaired joints, frames 4 to 7"


def test_dark_and_light_differ_and_a_phone_needs_no_sideways_scrolling(
    browser: Browser, mixed: Path, clips: Path
) -> None:
    papers = []
    for dark in (False, True):
        with opened(browser, clips, dark=dark) as page:
            papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert ink(page, ".panel canvas") > 1000
    assert papers == ["rgb(252, 252, 251)", "rgb(20, 22, 26)"]
    for path in (clips, mixed):
        with opened(browser, path, width=360) as page:
            assert overflows(page) == []


def test_it_prints(browser: Browser, clips: Path) -> None:
    with opened(browser, clips) as page:
        assert page.pdf().startswith(b"%PDF")


def test_nothing_outside_is_named(clips: Path, mixed: Path) -> None:
    for path in (clips, mixed):
        text = path.read_text()
        assert not any(word in text for word in ("http:", "https:", "src=", "url(", "@import"))
        assert "default-src 'none'" in text
    assert clips.stat().st_size < 500_000


def test_headings_are_classes_and_the_controls_are_visible_on_a_laptop(
    browser: Browser, clips: Path, shared_store: Store
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(clips.as_uri())
    heading = page.locator("h2").first.inner_text()
    name = page.locator("h2 .id").first.inner_text()
    row = find_rows(shared_store, [name])[0]
    assert heading == f"{shared_store.class_name(int(shared_store.columns['label'][row]))} {name}"
    box = page.locator(".controls").first.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900
    page.close()


def test_poses_of_a_strip_have_equal_distances(shared_store: Store, tmp_path: Path) -> None:
    """The first pose was further from the second than the others from each other, because the title is wide."""
    view = collect_clips(shared_store, [0], [], tmp_path / "none")
    (written,) = write_clip_view(view, shared_store, png=tmp_path / "strip.png")
    ink = np.asarray(Image.open(written).convert("L"))[-50:].min(axis=0) < 128  # the row of frame numbers
    columns = np.flatnonzero(ink)
    labels = np.split(columns, np.flatnonzero(np.diff(columns) > 30) + 1)
    gaps = np.diff([label.mean() for label in labels])
    assert len(gaps) == 7
    assert np.ptp(gaps) < 0.1 * gaps.mean()
