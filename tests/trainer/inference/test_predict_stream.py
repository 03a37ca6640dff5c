"""`predict RUN - --window S`: classes of a recording that arrives line by line."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli import main
from pipeline.errors import ConfigError, RawFileError
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.shipped_layouts import load_layout
from pipeline.sources.frame_stream import read_frames
from pipeline.sources.windows import Windows
from pipeline.store.store import Store
from trainer.inference.predict import PredictRequest, predict
from trainer.inference.predict_stream import StreamRequest, predict_stream
from trainer.runs.run import Run

CPU = torch.device("cpu")


@pytest.fixture
def xyz(shared_store: Store) -> np.ndarray:
    """(T, V, 3) one person for about five seconds."""
    return np.concatenate([np.nan_to_num(shared_store.clip(row)[0]) for row in (0, 2)])


@pytest.fixture
def stream_request(evaluated_run: Run) -> Callable[..., StreamRequest]:
    return lambda window=1.0, stride=0.5, **more: StreamRequest(
        run=evaluated_run, window=window, stride=stride, device=CPU, **more
    )


def lines_of(xyz: np.ndarray) -> list[str]:
    return [",".join(map(repr, frame.ravel().tolist())) for frame in xyz]


def test_a_stream_has_the_predictions_of_the_windows_of_a_file(
    stream_request: Callable[..., StreamRequest], xyz: np.ndarray, evaluated_run: Run, tmp_path: Path
) -> None:
    np.save(tmp_path / "long.npy", xyz)
    request = PredictRequest(run=evaluated_run, roots=(tmp_path / "long.npy",), device=CPU, windows=Windows(30, 15))
    expected = [answer for answer in predict(request).answers if answer.end - answer.start == 1]  # type: ignore[operator]
    found = [json.loads(line) for line in predict_stream(stream_request(), lines_of(xyz))]
    assert len(found) == len(expected) > 3
    for line, answer in zip(found, expected, strict=True):
        assert (line["start"], line["end"]) == (answer.start, answer.end)
        assert [top["label"] for top in line["top"]] == [top.label for top in answer.top]
        assert line["top"][0]["probability"] == pytest.approx(answer.top[0].probability, abs=1e-5)


def test_an_answer_comes_with_the_last_frame_of_its_window(
    stream_request: Callable[..., StreamRequest], xyz: np.ndarray
) -> None:
    read = []

    def arriving() -> Iterator[str]:
        for number, line in enumerate(lines_of(xyz)):
            read.append(number)
            yield line

    answers = predict_stream(stream_request(window=1.0, stride=2.0), arriving())
    next(answers)
    assert len(read) == 30
    next(answers)
    assert len(read) == 90


def test_windows_without_a_person_have_a_reason(stream_request: Callable[..., StreamRequest], xyz: np.ndarray) -> None:
    nobody = lines_of(np.zeros((30, 25, 3)))
    first, second = predict_stream(stream_request(stride=1.0), [*nobody, *lines_of(xyz[:30])])
    assert "no body" in json.loads(first)["reason"]
    assert json.loads(second)["top"]


def test_the_command_reads_standard_input(evaluated_run: Run, xyz: np.ndarray) -> None:
    def run(*words: object, text: str = "") -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["predict", str(evaluated_run.path), "-", *map(str, words)], input=text)
        return done.exit_code, done.stdout, done.stderr

    code, out, _ = run("--window", 1, "--top", 1, text="\n".join(lines_of(xyz[:45])))
    assert (code, [json.loads(line)["start"] for line in out.splitlines()]) == (0, [0, 0.5])
    assert "standard input needs --window" in run()[2]
    assert (
        "standard input and --out cannot be combined: it prints JSON lines" in run("--window", 1, "--out", "a.csv")[2]
    )
    code, _, err = run("--window", 1, text="1,2,3\n")
    assert (code, "standard input:1: is no frame of 25 joints" in err) == (1, True)


def test_impossible_streams_are_refused(stream_request: Callable[..., StreamRequest], evaluated_run: Run) -> None:
    with pytest.raises(ConfigError, match="window and stride must be at least a frame"):
        next(predict_stream(stream_request(window=0.001), []))


def test_frames_are_rows_of_numbers_or_json() -> None:
    layout = load_layout("coco-17")
    frame = np.arange(34.0).reshape(1, 17, 2)
    people = np.arange(102.0).reshape(2, 17, 3)
    header = ";".join(f"{joint}_{axis}" for joint in reversed(layout.joints) for axis in "xy")
    reordered = ";".join(map(str, frame[0, ::-1].ravel()))
    found = list(read_frames(["\ufeff" + header, "", reordered], layout, "x"))
    np.testing.assert_array_equal(found, [frame])
    found = list(read_frames([json.dumps(people.tolist()), json.dumps(people[0].tolist())], layout, "x"))
    np.testing.assert_array_equal(found[0], people)
    np.testing.assert_array_equal(found[1], people[:1])
    missing = list(read_frames(["," * 74], KINECT_V2, "x"))
    assert np.isnan(missing[0]).all()


@pytest.mark.parametrize("line", ["1,2,3", "[1, 2]", "[[[1, 2, 3]]]", "{}", "[" * 5000, "a,b", "[[1, 2], [3]]"])
def test_a_wrong_line_is_named(line: str) -> None:
    good = ",".join(["1"] * 75)
    with pytest.raises(RawFileError, match=r"x:2: is no frame of 25 joints"):
        list(read_frames([good, line], KINECT_V2, "x"))


def test_reading_frames_is_lazy() -> None:
    text = io.StringIO(",".join(["1"] * 75) + "\nno frame\n")
    assert next(read_frames(text, KINECT_V2, "x")).shape == (1, 25, 3)
