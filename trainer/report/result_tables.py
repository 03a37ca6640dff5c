"""Report sections on a run's evaluations: results, comparison with the paper, accuracy per class."""

import numpy as np

from pipeline.report import charts
from pipeline.report.charts import Curve
from pipeline.report.confusion_matrix import draw_confusion_matrix
from pipeline.report.report import Block, Chart, Charts, Folded, Table, Text, make_table
from pipeline.report.store_report import by_class
from pipeline.report.svg import WIDE, Role
from trainer.evaluation import frozen_protocols
from trainer.evaluation.published import find_published
from trainer.evaluation.request import ROW_ORDER
from trainer.evaluation.results import HEADLINE_PROTOCOLS, Result, Row
from trainer.runs.run import Run

MAX_DETAILED = 8
"""Evaluations for which charts and confusion matrices are shown."""
MAX_PAIRS = 15
"""Confused pairs of classes that are listed."""
BEST_EPOCH_NOTE = (
    "The published number is that of the best epoch on the test clips; ours is that of the last epoch, followed by our "
    "best epoch."
)
ROLES: tuple[Role, ...] = ("accent", "second", "good", "bad")


def results_blocks(run: Run, found: list[Result], skipped: list[str], older: list[Result]) -> list[Block]:
    """Show the newest evaluation of each name with its baselines and intervals, and list the others."""
    blocks: list[Block] = [Text(text=line, warns=True) for line in skipped]
    if not found:
        return [*blocks, Text(text=f"Not evaluated yet: run `skelepipe eval {run.path}`.")]
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    is_same_data = len({_describe_data(result) for result in found}) == 1
    for result in found:
        for name, row in result.rows.items():
            if name.startswith(frozen_protocols.PRETRAINED):
                marked.append(len(rows))
            rows.append((result.short_name, name, *_cells(row), *([] if is_same_data else [_describe_data(result)])))
    head = ["evaluation", "representation", "top-1 %", "95 % interval", "top-5 %", "best epoch", "test clips"]
    head += [] if is_same_data else ["evaluated on"]
    title = "All evaluations with intervals, top-5 and best epochs"
    return [
        *blocks,
        _matrix(found[:MAX_DETAILED]),
        Charts(charts=[_bar_chart(result) for result in found[:MAX_DETAILED]]),
        make_table(title, head, rows, marked=frozenset(marked), folded=True),
        Text(text="", points=[*([f"All rows: {_describe_data(found[0])}."] if is_same_data else []), *_notes(found)]),
        *_older_blocks(found, older),
    ]


def _matrix(found: list[Result]) -> Table:
    """Show top-1 of every representation (rows) in every evaluation (columns)."""
    names = list(dict.fromkeys(name for result in found for name in result.rows))
    ordered = sorted(names, key=lambda name: ROW_ORDER.index(name) if name in ROW_ORDER else len(ROW_ORDER))
    rows = [
        (name, *(_format_top1(result.rows[name]) if name in result.rows else "" for result in found))
        for name in ordered
    ]
    marked = frozenset(n for n, name in enumerate(ordered) if name.startswith(frozen_protocols.PRETRAINED))
    head = ["representation", *(result.short_name for result in found)]
    return make_table("Top-1 % after the last epoch, with 95 % intervals", head, rows, marked=marked)


def _format_top1(row: Row) -> str:
    if row.interval95:
        return f"{row.top1:.1f} [{row.interval95[0]:.1f}, {row.interval95[1]:.1f}]"
    return f"{row.top1:.1f}" + (f" ± {row.deviation:.1f}" if row.deviation is not None else "")


def _older_blocks(found: list[Result], older: list[Result]) -> list[Block]:
    """List the evaluations with other settings than the newest of the same name, with what differs."""
    if not older:
        return []
    newest = {result.short_name: result for result in found}
    rows = [
        (
            result.name,
            f"{next(iter(result.rows.values())).top1:.1f}",
            _describe_differences(result, newest[result.short_name]),
        )
        for result in older
    ]
    head = ["evaluation", "top-1 %", "differs from the newest in"]
    return [
        make_table("Older evaluations, newest first; the rest of this report leaves them out", head, rows, folded=True)
    ]


def _describe_differences(result: Result, newest: Result) -> str:
    """Return the settings and inputs in which a result differs from another one."""
    ours, theirs = result.settings, newest.settings
    differences = [
        f"{key} {ours.get(key)} instead of {theirs.get(key)}"
        for key in dict.fromkeys([*ours, *theirs])
        if ours.get(key) != theirs.get(key)
    ]
    if _describe_data(result) != _describe_data(newest):
        differences.append(_describe_data(result))
    return ", ".join(differences) or "versions, device or data"


def _bar_chart(result: Result) -> Chart:
    """Plot the rows of an evaluation as bars with their intervals."""
    title = f"{result.short_name}: top-1"
    rows = dict(sorted(result.rows.items(), key=lambda item: -item[1].top1))
    svg = charts.bars(
        title,
        list(rows),
        [row.top1 for row in rows.values()],
        unit="top-1 %",
        category="representation",
        roles=["accent" if name.startswith(frozen_protocols.PRETRAINED) else "second" for name in rows],
        intervals=[row.interval95 for row in rows.values()],
        labelled=True,
        width=WIDE,
    )
    return Chart(title=title, svg=svg)


def _describe_data(result: Result) -> str:
    """Return store, split and checkpoint of an evaluation."""
    store, split, checkpoint = result.lineage.store, result.lineage.split, result.lineage.checkpoint
    streams = f", {len(result.fused)} streams fused" if result.fused else ""
    clips = f"{split.test:,} test clips of split {split.name} of the store {store.name}"
    return f"{clips}, {checkpoint.which} checkpoint at step {checkpoint.step:,}{streams}"


def _cells(row: Row) -> tuple[str, ...]:
    top1 = f"{row.top1:.1f}" + (f" ± {row.deviation:.1f}" if row.deviation is not None else "")
    interval = f"{row.interval95[0]:.1f} to {row.interval95[1]:.1f}" if row.interval95 else ""
    best = f"{row.best_epoch.top1:.1f} (epoch {row.best_epoch.epoch})" if row.best_epoch else ""
    clips = row.clips if row.clips is not None else next((seed.clips for seed in row.seeds.values()), None)
    return top1, interval, "" if row.top5 is None else f"{row.top5:.1f}", best, "" if clips is None else f"{clips:,}"


def _notes(found: list[Result]) -> list[str]:
    """Return what a reader of the numbers must know."""
    lines = [
        "Marked: the pre-trained encoder. Intervals (Wilson, 95 %) cover the choice of test clips only; the variation "
        "over training seeds comes on top."
    ]
    lines += dict.fromkeys(f"{note[:1].upper()}{note[1:]}." for result in found for note in result.notes)
    rows = [row for result in found for row in result.rows.values()]
    if any(row.best_epoch for row in rows):
        lines.append("Best epoch: chosen on the test clips, which is what most papers report.")
    if any(row.seeds for row in rows):
        lines.append("±: standard deviation over several subsets of labelled clips.")
    names = {name for result in found for name in result.rows}
    explanations = {
        frozen_protocols.RECALIBRATED: "Recalibrated: the same weights, with batch-norm statistics recomputed on the "
        "unmixed training clips.",
        frozen_protocols.RANDOM_ENCODER: "Random encoder: the same network before its first step. The difference is "
        "what pre-training gained.",
        frozen_protocols.RAW_COORDINATES: "Raw coordinates: the nearest training clip by Euclidean distance, without a "
        "network.",
    }
    lines += [line for name, line in explanations.items() if name in names]
    return lines + [
        f"{result.short_name}: {result.lineage.test_clips_pretrained_on:,} of its test clips were used in "
        "pre-training, without their labels."
        for result in found
        if result.lineage.test_clips_pretrained_on
    ]


def published_blocks(run: Run, found: list[Result]) -> list[Block]:
    """Compare our numbers with the published ones, and list every reason why they cannot be compared."""
    rows, notes = [], dict[str, None]()
    for result in found:
        number = find_published(run, result.lineage, _protocol_key(result), result.settings)
        if number is None or result.lineage.checkpoint.which != "last" or result.fused is not None:
            continue
        row = next(iter(result.rows.values()))
        reasons = [f"{result.short_name}: {', '.join(number.differences)}."] if number.differences else []
        notes |= dict.fromkeys([*reasons, *([BEST_EPOCH_NOTE] if number.is_best_epoch else [])])
        interval = f" [{row.interval95[0]:.1f}, {row.interval95[1]:.1f}]" if row.interval95 else ""
        best = f"{row.best_epoch.top1:.1f}" if row.best_epoch else ""
        comparable = "no" if reasons else "best epochs" if number.is_best_epoch else "yes"
        rows.append(
            (result.short_name, f"{row.top1:.1f}{interval}", best, f"{number.top1:.1f}", number.source, comparable)
        )
    if not rows:
        none = "No published number is known for this data set, split and evaluation."
        return [Text(text=none if found else "Not evaluated yet.")]
    head = ["evaluation", "ours, top-1 %", "our best epoch", "published", "source", "comparable"]
    blocks: list[Block] = [make_table("Ours and published", head, rows)]
    if notes:
        blocks.append(Text(text="Before comparing, note:", points=list(notes), warns=True))
    if all(row[-1] == "no" for row in rows):
        return [Folded(title="No number here can be compared with a published one", blocks=blocks)]
    return blocks


def _protocol_key(result: Result) -> str:
    """Return the key of an evaluation in the published numbers of presets."""
    fraction = result.settings.get("fraction")
    return f"semi-{fraction:g}" if isinstance(fraction, float) else result.protocol


def class_blocks(found: list[Result]) -> list[Block]:
    """Show for each evaluation the confusion matrix, accuracy per class, confused pairs and accuracy per epoch."""

    def rank(result: Result) -> tuple[bool, int]:
        known = result.short_name in HEADLINE_PROTOCOLS
        return result.fused is not None, HEADLINE_PROTOCOLS.index(result.short_name) if known else len(
            HEADLINE_PROTOCOLS
        )

    first_rows = [(result, *next(iter(result.rows.items()))) for result in sorted(found, key=rank)]
    shown = [(result, name, row) for result, name, row in first_rows if row.confusion and row.clips]
    if not shown:
        return [Text(text="No evaluation has results per class yet.")]
    blocks: list[Block] = [
        Folded(title=f"{result.short_name}, {name}: {row.top1:.1f} %", blocks=_details(result, row), opened=not index)
        for index, (result, name, row) in enumerate(shown[:MAX_DETAILED])
    ]
    if len(shown) > MAX_DETAILED:
        blocks.append(Text(text=f"The first {MAX_DETAILED} of {len(shown)} evaluations; the others are in eval/."))
    return blocks


def _details(result: Result, row: Row) -> list[Block]:
    """Show the results per class of the first row of an evaluation."""
    counts, labels = row.counts(), result.labels(row)
    clips, hits = counts.sum(1), np.diag(counts)
    known = [index for index in range(len(labels)) if clips[index]]
    accuracy = {index: 100 * float(hits[index] / clips[index]) for index in known}
    best_first = sorted(known, key=lambda index: (-accuracy[index], index))
    wrong = counts - np.diag(hits)
    numbers = [
        (
            labels[index],
            int(clips[index]),
            f"{accuracy[index]:.1f}",
            labels[int(wrong[index].argmax())] if wrong[index].any() else "",
        )
        for index in best_first
    ]
    title, accuracy_title = (
        f"{result.short_name}: confusion matrix",
        f"{result.short_name}: accuracy per class, best first",
    )
    plots: list[Chart | Table] = [
        Chart(title=title, svg=draw_confusion_matrix(title, counts, labels)),
        *_confused_pairs(labels, wrong, clips),
        *by_class(
            accuracy_title,
            [labels[index] for index in best_first],
            [accuracy[index] for index in best_first],
            "top-1 %",
            WIDE,
        ),
        *_epoch_chart(result),
    ]
    head = ["class", "clips", "top-1 %", "most often predicted as"]
    return [
        Text(
            text=f"{row.clips:,} test clips. Rows of the confusion matrix are true classes, columns predicted classes; "
            "blue is correct, red is wrong, and a stronger colour is a larger share of the true class."
        ),
        Charts(charts=plots),
        make_table("Accuracy per class: the numbers", head, numbers, folded=True),
    ]


def _confused_pairs(labels: list[str], wrong: np.ndarray, clips: np.ndarray) -> list[Table]:
    """List the most confused pairs of classes, if there are any."""
    order = np.lexsort((np.arange(wrong.size), -wrong.ravel()))[:MAX_PAIRS]
    pairs = [divmod(int(index), len(labels)) for index in order]
    rows = [
        (
            labels[true],
            labels[predicted],
            int(wrong[true, predicted]),
            f"{100 * wrong[true, predicted] / clips[true]:.0f} %",
        )
        for true, predicted in pairs
        if wrong[true, predicted]
    ]
    head = ["true class", "predicted class", "clips", "of the class"]
    return [make_table("Most confused pairs", head, rows)] if rows else []


def _epoch_chart(result: Result) -> list[Chart]:
    """Plot the test accuracy over the epochs of a classifier's training, if it was recorded."""
    rows = [(name, row.test_top1_by_epoch) for name, row in result.rows.items() if len(row.test_top1_by_epoch) > 1]
    if not rows:
        return []
    title = f"{result.short_name}: test accuracy over the epochs"
    lines = [
        Curve(name=name, x=[int(epoch) for epoch in accuracies], y=list(accuracies.values()), role=role)
        for (name, accuracies), role in zip(rows, ROLES, strict=False)
    ]
    return [Chart(title=title, svg=charts.curves(title, lines, x="epoch", y="top-1 %", width=WIDE))]
