"""Plot the predicted class over the time of long recordings."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pipeline.files.atomic import atomic_path
from pipeline.sources.class_title import class_title
from trainer.inference.predict import RecordingPredictions

ROW_INCHES, MIN_INCHES = 0.35, 2.0


def plot_predictions(answers: Sequence[RecordingPredictions], out: Path) -> None:
    """Plot a bar for each window at its time and predicted class; its opacity is the probability.

    Args:
        answers: windows of one or several recordings; each recording has its own axes.
        out: the .png, .svg or .pdf to write.

    Raises:
        OutputFailed: the disk refuses.
    """
    recordings = list(dict.fromkeys(answer.file for answer in answers))
    classes = {answer.top[0].label: class_title(answer.top[0].label, answer.top[0].name) for answer in answers}
    labels = sorted(classes)
    height = max(MIN_INCHES, ROW_INCHES * len(labels) + 1)
    figure = Figure(figsize=(10, height * len(recordings)), layout="constrained")
    for number, recording in enumerate(recordings, start=1):
        axes = figure.add_subplot(len(recordings), 1, number)
        for answer in answers:
            if answer.file == recording and answer.start is not None and answer.end is not None:
                span = [(answer.start, answer.end - answer.start)]
                row = labels.index(answer.top[0].label)
                axes.broken_barh(span, (row - 0.4, 0.8), color="tab:blue", alpha=max(0.1, answer.top[0].probability))
        axes.set_yticks(range(len(labels)), [classes[label] for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlabel("seconds")
        axes.set_title(Path(recording).name, parse_math=False)
    with atomic_path(out) as partial:
        figure.savefig(partial, format=out.suffix.removeprefix(".") or "png", metadata={})
