"""Evaluations in a run's report: side by side, beside the published number, and class by class."""

import numpy as np

from pipeline.report import charts
from pipeline.report.charts import Curve
from pipeline.report.report import Block, Chart, Charts, Folded, Table, Text, make_table
from pipeline.report.store_report import by_class
from pipeline.report.svg import Role
from trainer.config.presets import Preset, compose_pretrain, load_preset, preset_names
from trainer.evaluation import frozen_protocols
from trainer.evaluation.results import HEADLINE_PROTOCOLS, Result, Row
from trainer.report import training_history
from trainer.runs.run import Run

DETAILED = 8
"""Evaluations that are drawn, and shown class by class; a page has room for so many confusions."""
PAIRS = 15
"""Confused pairs that are listed."""
OF_BEST = (
    "The published number is of the best epoch on the test clips; ours is of the last, with the best one beside it."
)
ROLES: tuple[Role, ...] = ("accent", "second", "good", "bad")


def table(run: Run, found: list[Result], skipped: list[str]) -> list[Block]:
    """Every evaluation with its baselines and intervals."""
    blocks: list[Block] = [Text(text=line, warns=True) for line in skipped]
    if not found:
        return [*blocks, Text(text=f"Not evaluated yet: `skelepipe eval {run.path}` says what it is worth.")]
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    alike = len({_of(result) for result in found}) == 1
    for result in found:
        for name, row in result.rows.items():
            if name.startswith(frozen_protocols.PRETRAINED):
                marked.append(len(rows))
            rows.append((result.name, name, *_cells(row), *([] if alike else [_of(result)])))
    head = ["evaluation", "representation", "top-1 %", "95 % interval", "top-5 %", "best epoch", "test clips"]
    head += [] if alike else ["of"]
    return [
        *blocks,
        make_table("Every evaluation; top-1 is the last epoch's", head, rows, marked=frozenset(marked)),
        Charts(charts=[_side_by_side(result) for result in found[:DETAILED]]),
        Text(text="", points=[*([f"All of {_of(found[0])}."] if alike else []), *_notes(found)]),
    ]


def _side_by_side(result: Result) -> Chart:
    """An evaluation's rows as bars with their intervals."""
    title, rows = f"{result.name}: top-1", result.rows
    svg = charts.bars(
        title,
        list(rows),
        [row.top1 for row in rows.values()],
        unit="top-1 %",
        of="representation",
        roles=["accent" if name.startswith(frozen_protocols.PRETRAINED) else "faint" for name in rows],
        intervals=[row.interval95 for row in rows.values()],
    )
    return Chart(title=title, svg=svg)


def _of(result: Result) -> str:
    """What an evaluation was of."""
    store, split, checkpoint = result.lineage.store, result.lineage.split, result.lineage.checkpoint
    streams = f", {len(result.fused)} streams added up" if result.fused else ""
    return f"{store.name} {split.name}, {checkpoint.which} checkpoint at step {checkpoint.step:,}{streams}"


def _cells(row: Row) -> tuple[str, ...]:
    top1 = f"{row.top1:.1f}" + (f" ± {row.deviation:.1f}" if row.deviation is not None else "")
    interval = f"{row.interval95[0]:.1f} to {row.interval95[1]:.1f}" if row.interval95 else ""
    best = f"{row.best_epoch.top1:.1f} (epoch {row.best_epoch.epoch})" if row.best_epoch else ""
    clips = row.clips if row.clips is not None else next((one.clips for one in row.seeds.values()), None)
    return top1, interval, "" if row.top5 is None else f"{row.top5:.1f}", best, "" if clips is None else f"{clips:,}"


def _notes(found: list[Result]) -> list[str]:
    """What a reader of the numbers must know."""
    lines = [
        "Marked: the pre-trained encoder. Intervals (Wilson, 95 %) are for the test clips alone; other seeds of the "
        "training add to them."
    ]
    rows = [row for result in found for row in result.rows.values()]
    if any(row.best_epoch for row in rows):
        lines.append("Best epoch: chosen on the test clips, which is what most papers report.")
    if any(row.seeds for row in rows):
        lines.append("±: standard deviation over several draws of the labelled clips.")
    names = {name for result in found for name in result.rows}
    said = {
        frozen_protocols.RECALIBRATED: "Recalibrated: the same weights with batch-norm statistics of the clean training clips.",
        frozen_protocols.RANDOM_ENCODER: "Random encoder: the same network before its first step. Pre-training bought what lies between.",
        frozen_protocols.RAW_COORDINATES: "Raw coordinates: the nearest training clip by Euclidean distance, no network at all.",
    }
    lines += [line for name, line in said.items() if name in names]
    return lines + [
        f"{result.name}: {result.lineage.test_clips_pretrained_on:,} of its test clips were pre-trained on, without "
        "their labels."
        for result in found
        if result.lineage.test_clips_pretrained_on
    ]


def published(run: Run, found: list[Result]) -> list[Block]:
    """Our numbers beside the authors', with all that keeps the two from being compared."""
    rows, notes = [], dict[str, None]()
    for result in found:
        named = _preset_for(run, result)
        if named is None or result.lineage.checkpoint.which != "last" or result.fused is not None:
            continue
        about, row = named[1].about, next(iter(result.rows.values()))
        doubts = _doubts(run, result, *named)
        of_best = "best test epoch" in about.source
        notes |= dict.fromkeys([*doubts, *([OF_BEST] if of_best else [])])
        interval = f" [{row.interval95[0]:.1f}, {row.interval95[1]:.1f}]" if row.interval95 else ""
        best = f"{row.best_epoch.top1:.1f}" if row.best_epoch else ""
        theirs = f"{about.published[_key(result)]:.1f}"
        comparable = "no" if doubts else "best epochs" if of_best else "yes"
        rows.append((result.name, f"{row.top1:.1f}{interval}", best, theirs, about.source, comparable))
    if not rows:
        none = "None is known for this data set, split and evaluation; presets name what authors report."
        return [Text(text=none if found else "Not evaluated yet: there is nothing to compare.")]
    head = ["evaluation", "ours, top-1 %", "our best epoch", "published", "where", "comparable"]
    blocks: list[Block] = [make_table("Ours and the authors'", head, rows)]
    if notes:
        blocks.append(Text(text="What to know before comparing:", points=list(notes), warns=True))
    return blocks


def _key(result: Result) -> str:
    """What presets call an evaluation."""
    fraction = result.settings.get("fraction")
    return f"semi-{fraction:g}" if isinstance(fraction, float) else result.protocol


def _preset_for(run: Run, result: Result) -> tuple[str, Preset] | None:
    """The preset that knows a published number for an evaluation on the run's own data: the run's, else the data's."""
    store, split = run.lineage["store"], result.lineage.split.name
    if result.lineage.store.digest != store["digest"]:
        return None
    for name in (run.preset, f"{store.get('dataset')}-{split}"):
        if name in preset_names():
            about = load_preset(name).about
            if (about.dataset, about.split) == (store.get("dataset"), split) and _key(result) in about.published:
                return name, load_preset(name)
    return None


def _doubts(run: Run, result: Result, name: str, chosen: Preset) -> list[str]:
    """Why our number is not what the published one is of; empty when it is."""
    about, meant, config, split = chosen.about, compose_pretrain(chosen), run.config, result.lineage.split
    doubts = []
    if about.train_clips and split.train != about.train_clips:
        said = f"The whole data set has {about.train_clips:,} training clips, here are {split.train:,}"
        fewer = ": a part of it, or synthetic recordings, which a store cannot tell from a sensor's"
        doubts.append(f"{said}{fewer if split.train < about.train_clips else ''}.")
    if run.preset != name:
        doubts.append(f"The published number is of preset {name}, this run of preset {run.preset}.")
    elif other := training_history.changed(run):
        doubts.append(f"Settings are other than the preset's: {', '.join(other)}.")
    if (meant.method.name, meant.stream) != (config.method.name, config.stream):
        ours = f"{config.method.name}, {config.stream} stream"
        doubts.append(f"It is of {meant.method.name}, {meant.stream} stream; this is {ours}.")
    return doubts


def classes(found: list[Result]) -> list[Block]:
    """For each evaluation confusion, accuracy by class, most confused pairs, and the test clips over the epochs."""

    def rank(result: Result) -> tuple[bool, int]:
        return result.fused is not None, HEADLINE_PROTOCOLS.index(
            result.name
        ) if result.name in HEADLINE_PROTOCOLS else len(HEADLINE_PROTOCOLS)

    firsts = [(result, *next(iter(result.rows.items()))) for result in sorted(found, key=rank)]
    shown = [(result, name, row) for result, name, row in firsts if row.confusion and row.clips]
    if not shown:
        return [Text(text="No evaluation has said anything of single classes yet.")]
    blocks: list[Block] = [
        Folded(title=f"{result.name}, {name}: {row.top1:.1f} %", blocks=_one(result, row), opened=not place)
        for place, (result, name, row) in enumerate(shown[:DETAILED])
    ]
    if len(shown) > DETAILED:
        blocks.append(Text(text=f"The first {DETAILED} of {len(shown)} evaluations; the files in eval/ have all."))
    return blocks


def _one(result: Result, row: Row) -> list[Block]:
    """One evaluation's classes, of its first row."""
    counts, labels = row.counts(), result.labels(row)
    clips, hits = counts.sum(1), np.diag(counts)
    known = [place for place in range(len(labels)) if clips[place]]
    values = {place: 100 * float(hits[place] / clips[place]) for place in known}
    best_first = sorted(known, key=lambda place: (-values[place], place))
    wrong = counts - np.diag(hits)
    numbers = [
        (
            labels[place],
            int(clips[place]),
            f"{values[place]:.1f}",
            labels[int(wrong[place].argmax())] if wrong[place].any() else "",
        )
        for place in best_first
    ]
    title, by = f"{result.name}: confusion", f"{result.name}: accuracy by class, best first"
    drawn: list[Chart | Table] = [
        Chart(title=title, svg=charts.confusion(title, counts, result.class_names, row.classes)),
        *by_class(by, [labels[place] for place in best_first], [values[place] for place in best_first], "top-1 %"),
        *_epochs(result),
        *_pairs(labels, wrong, clips),
    ]
    head = ["class", "clips", "top-1 %", "most often taken for"]
    return [
        Text(text=f"{row.clips:,} test clips. A row of the confusion is a true class; blue is right, red is wrong."),
        Charts(charts=drawn),
        make_table("Accuracy by class: the numbers", head, numbers, folded=True),
    ]


def _pairs(labels: list[str], wrong: np.ndarray, clips: np.ndarray) -> list[Table]:
    """The most confused pairs, when there are any."""
    order = np.lexsort((np.arange(wrong.size), -wrong.ravel()))[:PAIRS]
    places = [divmod(int(place), len(labels)) for place in order]
    rows = [
        (labels[true], labels[said], int(wrong[true, said]), f"{100 * wrong[true, said] / clips[true]:.0f} %")
        for true, said in places
        if wrong[true, said]
    ]
    return [make_table("Most confused pairs", ["true class", "said", "clips", "of the class"], rows)] if rows else []


def _epochs(result: Result) -> list[Chart]:
    """How the test clips were told over the epochs of what was trained on the features, when it was looked at."""
    rows = [(name, row.test_top1_by_epoch) for name, row in result.rows.items() if len(row.test_top1_by_epoch) > 1]
    if not rows:
        return []
    title = f"{result.name}: test clips over the epochs"
    lines = [
        Curve(name=name, x=[int(epoch) for epoch in looks], y=list(looks.values()), role=role)
        for (name, looks), role in zip(rows, ROLES, strict=False)
    ]
    return [Chart(title=title, svg=charts.curves(title, lines, x="epoch", y="top-1 %"))]
