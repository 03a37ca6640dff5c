"""`predict --window`: a class for each window of a long recording."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

from pipeline.errors import ConfigError
from pipeline.sources.windows import Windows
from trainer.inference.predict import PredictRequest, predict
from trainer.runs.run import Run

Skelepipe = Callable[..., Result]
CPU = torch.device("cpu")


@pytest.fixture
def recording(raw: Path) -> Path:
    return min(raw.glob("*A001.skeleton"))


@pytest.mark.parametrize(
    ("frames", "spans"),
    [
        (10, [(0, 10)]),
        (20, [(0, 20)]),
        (50, [(0, 20), (15, 35), (30, 50)]),
        (54, [(0, 20), (15, 35), (30, 50)]),
        (55, [(0, 20), (15, 35), (30, 50), (45, 55)]),
        (0, [(0, 0)]),
    ],
)
def test_windows_cover_a_recording(frames: int, spans: list[tuple[int, int]]) -> None:
    """A rest of at least half a window is a window; windows of 20 frames start every 15."""
    assert list(Windows.of_seconds(20 / 30, 0.5).spans(frames)) == spans


@pytest.mark.parametrize(("window", "stride"), [(0.01, 1), (1, 0), (float("nan"), 1), (1, -1)])
def test_impossible_windows_are_refused(window: float, stride: float) -> None:
    with pytest.raises(ConfigError, match="must be at least a frame"):
        Windows.of_seconds(window, stride)


def test_a_window_as_long_as_the_recording_has_its_scores(evaluated_run: Run, recording: Path) -> None:
    whole = predict(PredictRequest(run=evaluated_run, roots=(recording,), device=CPU))
    windows = Windows.of_seconds(100, 100)
    window = predict(PredictRequest(run=evaluated_run, roots=(recording,), device=CPU, windows=windows))
    assert torch.equal(whole.scores, window.scores)
    (answer,) = window.answers
    assert (answer.start, answer.top) == (0, whole.answers[0].top)


def test_files_and_table_have_the_times_of_the_windows(
    evaluated_run: Run, recording: Path, skelepipe: Skelepipe
) -> None:
    frames = int(recording.read_bytes().split(b"\r\n", 1)[0])
    spans = [(start / 30, end / 30) for start, end in Windows(30, 15).spans(frames)]
    command = ("predict", evaluated_run.path, recording, "--window", 1, "--top", 2)
    done = skelepipe(*command, "--out", "w.csv", "--plot", "time.png")
    assert done.exit_code == 0, done.output
    assert "0.0 to 1.0" in done.stdout
    rows = list(csv.DictReader(Path("w.csv").read_text().splitlines()))
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (pytest.approx(start, abs=6e-4), pytest.approx(end, abs=6e-4)) for start, end in spans
    ]
    assert Path("time.png").read_bytes().startswith(b"\x89PNG")
    assert skelepipe(*command, "--out", "w.jsonl").exit_code == 0
    lines = [json.loads(line) for line in Path("w.jsonl").read_text().splitlines()]
    assert [(line["start"], line["end"]) for line in lines] == spans
    shown = json.loads(skelepipe(*command, "--json").stdout)["predictions"]
    assert shown == lines
    assert [str(line["top"][0]["label"]) for line in lines] == [row["class"] for row in rows]


def test_without_windows_there_are_no_times(evaluated_run: Run, recording: Path, skelepipe: Skelepipe) -> None:
    shown = json.loads(skelepipe("predict", evaluated_run.path, recording, "--json").stdout)["predictions"]
    assert {"start", "end"}.isdisjoint(shown[0])
    done = skelepipe("predict", evaluated_run.path, recording, "--stride", "1")
    assert (done.exit_code, "--stride and --plot belong to --window" in done.stderr) == (2, True)


def test_windows_without_a_person_are_counted(evaluated_run: Run, recording: Path, tmp_path: Path) -> None:
    """Two seconds in which nobody is seen follow the recording."""
    count, body = recording.read_bytes().split(b"\r\n", 1)
    long = tmp_path / recording.name
    long.write_bytes(b"%d\r\n" % (int(count) + 60) + body + b"0\r\n" * 60)
    request = PredictRequest(run=evaluated_run, roots=(long,), device=CPU, windows=Windows(30, 30))
    result = predict(request)
    assert not result.refused
    assert sum(count for reason, count in result.left_out.items() if "windows without a prediction" in reason) >= 1
    assert max(answer.end or 0 for answer in result.answers) <= (int(count) + 30) / 30


def test_a_damaged_recording_is_refused_whatever_its_name(evaluated_run: Run, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "me@home.skeleton").write_bytes(b"3\r\n1\r\nno body\r\n")
    roots = (recording, tmp_path / "me@home.skeleton")
    result = predict(PredictRequest(run=evaluated_run, roots=roots, device=CPU, windows=Windows(30, 30)))
    assert [Path(bad["file"]).name for bad in result.refused] == ["me@home.skeleton"]
