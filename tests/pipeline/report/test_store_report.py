import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import SkelepipeError
from pipeline.report import store_examples, store_report
from pipeline.report.report import Report, Scene, make_table, write_report
from pipeline.skeleton.recording import STEP_COUNTS
from pipeline.store.store import Store
from tests.support.html_checks import page_of

HOSTILE = "<script>alert(1)</script>\"'&</table>`x`"
NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def gathered(shared_store: Store, raw: Path) -> Report:
    return store_report.build_store_report(shared_store, [raw], NOWHERE)


def test_a_store_report_shows_the_whole_summary(gathered: Report, shared_store: Store, tmp_path: Path) -> None:
    page = page_of(gathered, tmp_path / "page.html")
    assert page.text.count("72 clips of 3 classes by") == 1
    for meaning in STEP_COUNTS.values():
        assert meaning in page.text
    for name in shared_store.attributes["classes"].values():
        assert name in page.text
    for entry in shared_store.quarantine:
        assert entry["file"] in page.text
        assert " ".join(entry["reason"].split()) in page.text
    for step in shared_store.attributes["recipe"]["steps"]:
        assert f". {step['step']}" in page.text
    assert shared_store.digest in page.text
    assert "xsub 36 36 subject valid" in page.text


def test_examples_show_the_clip_as_it_was_recorded_and_as_it_is(gathered: Report, shared_store: Store) -> None:
    (examples,) = [section for section in gathered.sections if section.name == "examples"]
    scenes = [block for block in examples.blocks if isinstance(block, Scene)]
    assert len(scenes) >= 4
    assert len({scene.title for scene in scenes}) == len(scenes)
    assert gathered.film is not None
    for scene in scenes:
        assert [moving.label for moving in scene.shown] == ["before", "after"]
        before, after = (gathered.film.clips[moving.clip]["shape"] for moving in scene.shown)
        assert before[1:] == after[1:]  # the same frames of the same joints
        row = shared_store.names.index(scene.title.split(":")[0])
        shown = re.search(r"frames (\d+) to (\d+) of (\d+)", scene.shown[1].note)
        first, last, frames = map(int, shown.groups()) if shown else (1, after[1], after[1])
        assert (after[0], frames, after[2]) == shared_store.shape(row)[:3]
        assert after[1] == last - first + 1


def test_the_placement_of_a_clip_is_described() -> None:
    people = np.random.default_rng(0).normal(size=(2, 9, 25, 3)).astype(np.float32)
    turned = people @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    described = store_examples.placement_changes
    assert described(people, people.copy()) == []
    assert described(people, people + np.float32(0.5)) == ["moved"]
    assert described(people, people[::-1]) == ["people reordered"]
    assert described(people, turned[::-1] - 1) == ["moved", "turned", "people reordered"]
    assert described(people, turned[1:]) == ["moved", "turned"]
    some = people.copy()
    some[0, :4] = np.nan  # repaired or missing joints do not count as moved
    assert described(some, people) == []


def test_a_typical_clip_of_clean_is_moved_and_turned(gathered: Report) -> None:
    (examples,) = [section for section in gathered.sections if section.name == "examples"]
    notes = [block.note for block in examples.blocks if isinstance(block, Scene)]
    assert all("moved, turned" in note for note in notes)


def test_a_part_of_a_data_set_is_called_so(gathered: Report) -> None:
    assert "72 of the 56,880 recordings of ntu60" in gathered.answer


def test_the_clip_with_the_most_repaired_joints_is_the_first_example(shared_store: Store) -> None:
    chosen = store_examples._choose_rows(shared_store)
    repaired, joints = store_examples.repaired_joints(shared_store)
    shares = [repaired[row] / joints[row] for row in range(len(shared_store))]
    assert chosen[0][0] == int(np.argmax(shares))
    assert len({row for row, _ in chosen}) == len(chosen)
    assert [why for _, why in chosen][-2:] == ["a typical clip"] * 2


def test_without_the_recordings_the_page_explains_how_to_give_them(shared_store: Store, tmp_path: Path) -> None:
    page = page_of(store_report.build_store_report(shared_store, [], tmp_path / "raw"), tmp_path / "page.html")
    assert f"only as stored: {tmp_path / 'raw'}/ does not exist; give the folder" in page.text
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.txt").touch()
    page = page_of(store_report.build_store_report(shared_store, [], tmp_path / "raw"), tmp_path / "page.html")
    assert "contains no ntu60 recording; give the folder with --raw" in page.text
    with pytest.raises(SkelepipeError):
        store_report.build_store_report(shared_store, [tmp_path / "raw"], NOWHERE)


def test_nothing_of_a_file_becomes_markup(own_store: Path, tmp_path: Path) -> None:
    store = Store(own_store)
    for label in store.attributes["classes"]:
        store.attributes["classes"][label] = f"{label}{HOSTILE}"
    for entry in store.quarantine:
        entry.update(file=HOSTILE, name=HOSTILE, reason=f"{HOSTILE} \ud800")
    store.names[:] = [f"{HOSTILE}{row}" for row in range(len(store))]
    store.attributes["recipe"]["steps"][0]["step"] = HOSTILE
    page = page_of(store_report.build_store_report(store, [], NOWHERE), tmp_path / "page.html")
    assert page.count("script") == 2  # the skeletons and their motion
    assert HOSTILE.replace("`", "") in page.text.replace("`", "")


def test_the_same_store_gives_the_same_bytes(gathered: Report, shared_store: Store, raw: Path, tmp_path: Path) -> None:
    told = write_report(gathered, tmp_path / "a.html")
    write_report(store_report.build_store_report(shared_store, [raw], NOWHERE), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert told["bytes"] == (tmp_path / "a.html").stat().st_size
    assert json.loads(json.dumps(told))["sections"]["counts"]["charts"] == 4


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("file ends in frame 83 of 85: truncated?", "file ends in frame … of …: truncated?"),
        ("field 1 is '0.26l', expected a number", "field … is …, expected a number"),
        ("no body -1.5e+09", "no body …"),
    ],
)
def test_reasons_are_grouped_by_what_they_say(reason: str, kind: str) -> None:
    assert store_report._kind(reason) == kind


@pytest.mark.parametrize(("part", "said"), [(0, "0"), (1, "< 0.01 %"), (100, "0.10 %"), (12_345, "12.3 %")])
def test_shares_have_the_digits_that_count(part: int, said: str) -> None:
    assert store_report.format_share(part, 100_000) == said


def test_columns_of_numbers_are_known_by_their_cells() -> None:
    rows = [("a", 1, "3 brushing hair", "80.0 [72.0, 86.2]", "+3", ""), ("b", 2_000, "x", "1e-05", "< 0.01 %", "")]
    table = make_table("t", ["name", "count", "class", "top-1", "change", "empty"], rows)
    assert table.numbers == {1, 3, 4}
    assert table.rows[1][1] == "2,000"
