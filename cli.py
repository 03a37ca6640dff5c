"""The whole command line, in the order of the work; the only file that prints. Bodies parse, call and show."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.artifacts.paths import PROCESSED_FOLDER, RAW_FOLDER, RUNS_FOLDER
from trainer.terminal.commands import COMPLETE, Aspect, Commands, Folder, Job
from trainer.terminal.completion import SHELLS, answer, completer

QUARANTINED = 3
DAMAGED = 4


def silent() -> bool:
    """Whether this is one of several processes that torchrun has started, and not the first, which speaks for all."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0"


def show(lines: Sequence[str], *renderables: Any) -> None:
    """Results go to stdout: lines as they are, then tables."""
    if silent():
        return
    for line in lines:
        click.echo(line)
    if renderables:
        from rich.console import Console

        from trainer.terminal.console import columns

        console = Console() if sys.stdout.isatty() else Console(width=columns())
        for renderable in renderables:
            with nullcontext() if console.is_terminal else console.capture() as captured:
                console.print(renderable)
            for line in captured.get().splitlines() if captured else ():  # no blanks at the ends of a file's lines
                click.echo(line.rstrip())


def say(lines: Sequence[str]) -> None:
    """What was chosen for the user goes to stderr."""
    for line in lines if not silent() else ():
        click.echo(line, err=True)


def emit(value: Any) -> None:
    """One JSON object on stdout."""
    if not silent():
        click.echo(json.dumps(value, default=_plain, allow_nan=False))


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


NTU, PKU = ("ntu60", "ntu120"), ("pku1", "pku2")
DATASETS = (*NTU, *PKU, "folder")
TOOLS = ("mediapipe", "openpose", "coco", "azure-kinect", "kinect-v1", "bvh")
dataset = click.argument("dataset", type=click.Choice(DATASETS), metavar="DATASET")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
which = click.option(
    "--checkpoint",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Of the run; best: by held-out training clips, when it was trained with validate_every.",
)
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
fast = click.option(
    "--fast",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    callback=lambda context, option, value: value == "on",
    help="A reordered encoder: on a CPU with compiled loops, in training on one GPU as a CUDA graph; off: its plain "
    "equations, equal but for rounding.",
)
force = click.option("--force", is_flag=True, help="Replace an output that was made from other input.")


answer()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skelepipe", prog_name="skelepipe")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """From raw skeleton recordings to a self-supervised action representation and honest numbers for it.

    Exit codes: 0 done, 1 failure, 2 usage, 3 done but inputs were quarantined, 4 verification failed, 5 no space or I/O
    error, 6 output locked, 128 + signal.
    """


@main.command()
@click.argument("tool", type=click.Choice([*TOOLS, "folder"]), metavar="TOOL")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=Folder)
@click.option("--out", required=True, type=Folder, help="The folder to write, new or empty.")
@click.option(
    "--to",
    "target",
    metavar="LAYOUT",
    help="Make another skeleton of it: kinect-v2, as NTU RGB+D has.  [default: as is]",
)
@click.option("--labels", type=Folder, help="A CSV with a column file, and label, subject, camera, or any others.")
@click.option(
    "--pattern", metavar="REGEX", help=r"Named groups found in a file's name: '(?P<label>\w+)_(?P<subject>\d+)'."
)
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Take one of so many frames.")
@click.option(
    "--units",
    type=click.Choice(["m", "cm", "mm", "inch"]),
    help="bvh: of its offsets.  [default: that of a person's size]",
)
@click.option(
    "--up", type=click.Choice(["y", "-y", "z", "-z", "x", "-x"]), help="bvh: the axis that points up.  [default: y]"
)
@click.option("--skeleton", type=Folder, help="bvh: a TOML with the layout, where joints' names do not tell the limbs.")
@click.option("--aspect", type=Aspect(), help="mediapipe without world landmarks: width by height.  [default: 16:9]")
@as_json
@click.pass_context
def convert(
    ctx: click.Context, /, tool: str, inputs: tuple[Path, ...], out: Path, as_json: bool, **options: Any
) -> None:
    """What another tool wrote (files, folders, zips) to a folder data set that `ingest folder` takes.

    TOOL is mediapipe, openpose, coco, azure-kinect, kinect-v1 or bvh; or folder, to make another skeleton of one.
    """
    from pipeline.convert.convert import convert
    from pipeline.convert.inputs import ConvertRequest
    from trainer.terminal import pipeline_output
    from trainer.terminal.console import ProgressBar

    request = ConvertRequest(tool=tool, roots=inputs, output=out, **options)
    with ProgressBar("convert") as bar:
        report = convert(request, bar.predict)
    if as_json:
        emit(asdict(report))
    else:
        bad = [pipeline_output.refused_table(report.refused)] if report.refused else []
        show(
            [
                *pipeline_output.conversion_lines(report),
                *after(True, f"skelepipe ingest folder {shlex.quote(str(out))}"),
            ],
            *bad,
        )
    ctx.exit(QUARANTINED if report.refused else 0)


@main.command()
@dataset
@click.argument("raw", nargs=-1, required=True, type=Folder)
@click.option("--out", type=Folder, help="Where the store goes.  [default: processed/DATASET.zarr]")
@click.option(
    "--recipe",
    default="clean",
    show_default=True,
    help="A shipped recipe (clean, none, skelemixclr, ctrgcn, agcn, ...) or a TOML file.",
)
@click.option(
    "--frame-index",
    type=click.Choice(["0-exclusive", "0-inclusive", "1-inclusive"]),
    help="How the frames of clips cut out of long recordings are counted.  [default: the recipe's]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes; 0 or 1: this one.  [default: one per core if there is much to read]",
)
@click.option("--dask", metavar="ADDRESS", help="A running Dask cluster does the work: tcp://host:8786.")
@click.option(
    "--partition",
    "job",
    type=Job(),
    help="As one job of a batch scheduler do the K-th of N shares, and publish nothing: `finalise` does.",
)
@click.option("--keep-missing", is_flag=True, help="Take in the samples that are officially missing or incomplete.")
@click.option("--strict", is_flag=True, help="Publish nothing if any recording cannot be used.")
@click.option("--dry-run", is_flag=True, help="Only say what is there, what is missing and what it will cost.")
@force
@as_json
@click.pass_context
def ingest(
    ctx: click.Context,
    /,
    dataset: str,
    raw: tuple[Path, ...],
    out: Path | None,
    recipe: str,
    frame_index: Any,
    job: tuple[int, int] | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Recordings to a denoised, normalised store: RAW folders or zips to processed/DATASET.zarr.

    DATASET is ntu60, ntu120, pku1, pku2 or folder (any recordings, described by a skeleton.toml).
    """
    from pipeline.ingest.batch_jobs import run_job
    from pipeline.ingest.ingest import dry_run as plan_ingest
    from pipeline.ingest.ingest import ingest
    from pipeline.ingest.request import IngestRequest
    from pipeline.recipes.recipe import load_recipe
    from trainer.terminal import pipeline_output
    from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar

    if job:
        never("--partition", {"--dask": options["dask"], "--dry-run": dry_run})
        never("--partition", {"--strict": options["strict"]}, "; --strict belongs to `finalise`")
    if options["dask"]:
        never("--dask", {"--workers": options["workers"] is not None, "--dry-run": dry_run})
    request = IngestRequest(
        dataset=dataset,
        roots=raw,
        output=out or PROCESSED_FOLDER / f"{dataset}.zarr",
        recipe=load_recipe(recipe).counting(frame_index),
        **options,
    )
    with ProgressBar("ingest", FIRST_RUN_NOTE) as bar:
        if job:
            did = run_job(request, job, bar.ingest)
            show_ingest(ctx, did, pipeline_output.job_summary(did), "skelepipe finalise", out, as_json)
        else:
            report = plan_ingest(request) if dry_run else ingest(request, bar.ingest)
            show_ingest(ctx, report, pipeline_output.ingest_summary(report), "skelepipe build-splits", out, as_json)


@main.command()
@click.argument("store", required=False, type=Folder)
@click.option("--strict", is_flag=True, help="Publish nothing if any recording could not be used.")
@force
@as_json
@click.pass_context
def finalise(ctx: click.Context, store: Path | None, strict: bool, force: bool, as_json: bool) -> None:
    """Publish STORE (the only one that waits in processed/) when all jobs of `ingest --partition` have ended."""
    from pipeline.ingest.batch_jobs import finalise, find_unfinished_output
    from trainer.terminal import pipeline_output

    output = store or find_unfinished_output(PROCESSED_FOLDER)
    if store is None:
        say([f"store {output} (the only one that waits)"])
    report = finalise(output, strict=strict, force=force)
    show_ingest(ctx, report, pipeline_output.ingest_summary(report), "skelepipe build-splits", store, as_json)


@main.command("build-splits")
@click.argument("store", required=False, type=Folder)
@click.option("--split", "names", multiple=True, help="xsub, xview, xset, ...; all that it can have when not given.")
@click.option(
    "--split-file", type=Folder, help="Lists of recordings that train and test, as PKU-MMD ships them, for one split."
)
@click.option(
    "--label-fraction",
    "fractions",
    multiple=True,
    type=float,
    help="Also labelled shares of the training clips: 0.01 0.1.",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    default=(0,),
    show_default=True,
    type=click.IntRange(0),
    help="Of the labelled shares, one or several draws: 0 1 2.",
)
@as_json
def build_splits(
    store: Path | None,
    names: tuple[str, ...],
    split_file: Path | None,
    fractions: tuple[float, ...],
    seeds: tuple[int, ...],
    as_json: bool,
) -> None:
    """Train and test rows of STORE (the newest complete one), and labelled fractions of the training rows."""
    from pipeline.store.build_splits import build_splits
    from trainer.terminal import pipeline_output

    opened = open_store(store)
    built = build_splits(opened, names, fractions, seeds, split_file)
    if as_json:
        emit(
            {
                "splits": [split.to_json() for split in built.splits],
                "subsets": [asdict(subset) for subset in built.subsets],
                "skipped": built.skipped,
                "notes": built.notes,
            }
        )
    else:
        show([*pipeline_output.splits_summary(built, opened.path), *after(bool(built.splits), "skelepipe pretrain")])


@main.command()
@click.argument("store", required=False, type=Folder)
@click.option("--split", help="The split to train on.  [default: xsub, else the first]")
@click.option(
    "--preset",
    help="A named configuration: quick, DATASET-SPLIT, reference-DATASET-SPLIT.  [default: DATASET-SPLIT, else quick]",
)
@click.option("--config", type=Folder, help="A TOML file over the preset.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One value over both: epochs=50. docs/training/training.md lists them.",
)
@click.option(
    "--method",
    "method_name",
    help="skeletonclr, skelemixclr (mean of the mixed) or skelemixclr+ (sum).  [default: the preset's]",
)
@click.option("--stream", help="joint, motion or bone.  [default: the preset's]")
@click.option("--seed", type=click.IntRange(0), help="Of all that is random.  [default: the preset's]")
@click.option("--out", type=Folder, help="The run's folder.  [default: runs/STORE-SPLIT-PRESET]")
@click.option(
    "--residency",
    type=click.Choice(["auto", "gpu", "host", "stream"]),
    default="auto",
    show_default=True,
    help="Where clips lie: auto takes the first that they fit in. Same training wherever.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    help="Threads that prepare batches ahead. Same training for any number.",
)
@click.option("--any-recipe", is_flag=True, help="Train although the preset is for another recipe.")
@fast
@device
@force
@as_json
def pretrain(
    store: Path | None,
    split: str | None,
    preset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    out: Path | None,
    device: str,
    as_json: bool,
    any_recipe: bool,
    force: bool,
    residency: Any,
    workers: int,
    fast: bool,
    **short: Any,
) -> None:
    """An encoder by contrastive learning from the training clips of STORE (the newest). Goes on if interrupted."""
    from pipeline.store.splits import find_split
    from trainer.config.layers import layers_from_options, value_origins
    from trainer.config.presets import choose_preset, config_from_layers, pretrain_layers
    from trainer.pretrain.pretrain import PretrainRequest, pretrain
    from trainer.runtime.device import choose_device
    from trainer.terminal import training_output
    from trainer.terminal.training_output import TrainingBar

    opened = open_store(store)
    chosen = find_split(opened, split)
    name, found, advice = choose_preset(
        preset, opened.attributes["dataset"], chosen.name, choose_device(device).type == "cuda", len(chosen.train)
    )
    laid = [*pretrain_layers(name, found, config, settings), *layers_from_options(short)]
    request = PretrainRequest(
        store=opened,
        split=chosen,
        preset=name,
        config=config_from_layers(laid),
        origins=value_origins(laid),
        device=choose_device(device),
        output=out or RUNS_FOLDER / f"{opened.name}-{chosen.name}-{name}",
        any_recipe=any_recipe,
        force=force,
        residency=residency,
        workers=workers,
        fast=fast,
    )
    say([f"split {chosen.path}, preset {name}, run {request.output}", *advice])
    with TrainingBar(shown=not silent()) as bar:
        report = pretrain(request, bar.show, bar.say)
    if as_json:
        emit(training_output.pretrain_json(report))
    else:
        show([*training_output.pretrain_summary(report), *after(True, "skelepipe eval")])


@main.command("eval")
@click.argument("run", nargs=-1, type=Folder)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(["knn", "retrieval", "linear", "semi", "finetune"]),
    default=("knn", "linear"),
    show_default=True,
    help="One or several.",
)
@click.option(
    "--store", type=Folder, help="Another store than the run was trained on (transfer), or where that one is now."
)
@click.option("--split", help="Another split than the run was trained on.")
@click.option(
    "--label-fraction",
    "fractions",
    multiple=True,
    type=float,
    default=(0.1,),
    show_default=True,
    help="Of the training labels, for semi: every draw of it that build-splits has stored.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["both", "trained", "recalibrated"]),
    default="both",
    show_default=True,
    help="Statistics of the frozen encoder: as training left them, of the clean training clips, or a row for each.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="knn.k=10, linear.epochs=50, ...")
@click.option("--k", type=click.IntRange(1), help="Neighbours that vote in knn.  [default: 20]")
@click.option("--seed", type=click.IntRange(0), help="Of all that is random.  [default: 0]")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also what it is held against: untrained, trained from scratch, raw coordinates.",
)
@click.option("--fuse", is_flag=True, help="Also add up the scores of several runs, such as three streams.")
@click.option("--weights", multiple=True, type=float, help="Of the runs in --fuse.  [default: by stream]")
@which
@fast
@device
@as_json
def evaluate(
    run: tuple[Path, ...],
    store: Path | None,
    split: str | None,
    settings: tuple[str, ...],
    k: int | None,
    seed: int | None,
    fuse: bool,
    weights: tuple[float, ...],
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """What the encoder of RUN (the newest finished one) is worth, beside no pre-training at all; several RUNs apart."""
    from trainer.config.evaluation import compose_eval
    from trainer.evaluation.evaluate import EvaluateRequest, evaluate
    from trainer.evaluation.stream_fusion import fuse_runs, parse_weights
    from trainer.runs.run import find_run_split, find_run_store, load_run
    from trainer.runtime.device import choose_device
    from trainer.terminal import evaluation_output
    from trainer.terminal.console import ProgressBar

    opened = [load_run(path) for path in run] or [newest_run()]
    if weights and not fuse:
        raise click.UsageError("--weights belongs to --fuse")
    weighted = parse_weights(opened, weights) if fuse else []
    short = {"knn.k": k, "seed": seed}
    settings += tuple(f"{key}={value}" for key, value in short.items() if value is not None)
    found = {}
    for one in opened:
        data = find_run_store(one, store)
        request = EvaluateRequest(
            run=one,
            store=data,
            split=find_run_split(one, data, split),
            device=choose_device(device),
            config=compose_eval(settings),
            **options,
        )
        with ProgressBar(f"eval {one.path}") as bar:
            found[str(one.path)] = evaluate(request, bar.say)
    if fuse:
        found["fused"] = fuse_runs(opened, list(found.values()), weighted)
    if as_json:
        emit(next(iter(found.values())) if len(found) == 1 else found)
        return
    for results in found.values():
        show([], evaluation_output.results_table(results))
        show(evaluation_output.results_notes(results))


@main.command()
@click.argument("run", type=Folder)
@click.option("--store", type=Folder, help="Embed the clips of a store.")
@click.option("--split", help="Only those of a split of it.")
@click.option(
    "--subset",
    type=click.Choice(["train", "test", "all"]),
    default="all",
    show_default=True,
    help="Which side of the split; without --split, of xsub, else the first.",
)
@click.option("--input", "array", type=Folder, help="Embed the array `data` (N, 3, T, V, M) of an .npz, as it is.")
@click.option(
    "--layer",
    type=click.Choice(["backbone", "head"]),
    default="backbone",
    show_default=True,
    help="Before or after the projection head.",
)
@click.option("--normalise", is_flag=True, help="Scale every feature vector to length 1.")
@click.option("--out", required=True, type=Folder, help="The .npz to write: features, labels, names.")
@which
@fast
@device
@as_json
def embed(
    run: Path,
    store: Path | None,
    split: str | None,
    subset: str,
    array: Path | None,
    layer: Any,
    normalise: bool,
    out: Path,
    checkpoint: Any,
    fast: bool,
    device: str,
    as_json: bool,
) -> None:
    """Features of clips by the frozen encoder of RUN, as one .npz."""
    from pipeline.store.splits import find_split
    from trainer.inference.embed import embed, from_file, from_store
    from trainer.runs.run import find_run_store, load_run
    from trainer.runtime.device import choose_device
    from trainer.terminal import training_output

    if (store is None) == (array is None):
        raise click.UsageError("name either --store or --input")
    opened = load_run(run)
    if array is not None:
        batch = from_file(opened, array)
    else:
        data = find_run_store(opened, store)
        side = find_split(data, split) if split or subset != "all" else None
        batch = from_store(opened, data, side, subset)
    where = {"device": choose_device(device), "which": checkpoint, "fast": fast}
    found = embed(opened, batch, out, layer=layer, normalised=normalise, **where)
    result = {"out": out, **found, "layer": layer, "normalised": normalise}
    emit(result) if as_json else show(training_output.embed_lines(result))


@main.command("import-weights")
@click.argument("file", type=Folder)
@click.option(
    "--source", required=True, type=click.Choice(["skelemixclr", "crosclr", "aimclr"]), help="Whose code has saved it."
)
@click.option(
    "--stream",
    type=click.Choice(["joint", "motion", "bone"]),
    default="joint",
    show_default=True,
    help="Which to take of several; of a file with one encoder, what it was trained on.",
)
@click.option("--recipe", help="How its clips were prepared: aimclr-pku, ...  [default: as the source prepares NTU's]")
@click.option("--out", type=Folder, help="The run's folder.  [default: runs/FILE without its suffix]")
@force
@as_json
def import_weights(file: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """A checkpoint of SkeleMixCLR, SkeletonCLR, CrosSCLR or AimCLR as a run, to embed with and evaluate."""
    from trainer.runs.imported.import_weights import ImportRequest, import_weights
    from trainer.terminal import training_output

    report = import_weights(ImportRequest(file=file, output=out or RUNS_FOLDER / file.stem, **options))
    if as_json:
        emit(training_output.import_json(report))
        return
    then = f"skelepipe eval {shlex.quote(str(report.run.path))} --store STORE"
    show([*training_output.import_summary(report), *after(True, then)])


@main.command()
@click.argument("run", type=Folder)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--classifier", help="linear, linear-recalibrated, finetune, ...: what eval left.  [default: the newest]")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes to name for each clip.")
@click.option(
    "--skeleton",
    type=Folder,
    help="The skeleton.toml with units and axes of arrays that no manifest.csv names.  [default: the nearest]",
)
@click.option("--out", type=Folder, help="Also write a .csv.")
@fast
@device
@as_json
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    run: Path,
    files: tuple[Path, ...],
    out: Path | None,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Classes for new recordings in FILES (files, folders, zips), by a classifier that `eval` left with RUN."""
    from trainer.inference.predict import PredictRequest, predict, to_json
    from trainer.runs.run import load_run
    from trainer.runtime.device import choose_device
    from trainer.terminal import training_output
    from trainer.terminal.console import ProgressBar

    request = PredictRequest(run=load_run(run), roots=files, device=choose_device(device), output=out, **options)
    with ProgressBar("predict") as bar:
        report = predict(request, bar.predict)
    if as_json:
        emit(to_json(report))
    else:
        show([], training_output.predictions_table(report))
        say([*training_output.predictions_notes(report), *([f"written: {out}"] if out else [])])
    ctx.exit(QUARANTINED if report.refused else 0)


@main.command()
@click.argument("path", type=Folder)
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "ctrgcn", "stgcn", "pyskl", "hdf5", "onnx"]),
    help="npz, hdf5: a store as padded arrays and what is known of each clip. onnx: a run's encoder. Others: a store "
    "for the code bases of that name to train on.  [default: npz; of a run onnx]",
)
@click.option("--split", help="ctrgcn, stgcn: whose train and test sides to write.  [default: xsub, else the first]")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice(["joint", "bone", "motion", "bone-motion"]),
    help="stgcn: what of a clip, one or several, as 2s-AGCN has them.  [default: joint]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="pyskl: of the coordinates; PYSKL's own file has float16, to 2 mm.  [default: float32]",
)
@click.option(
    "--layer",
    type=click.Choice(["backbone", "head"]),
    help="onnx: features before or after the projection head.  [default: backbone]",
)
@click.option("--checkpoint", type=click.Choice(["last", "best"]), help="onnx: of the run.  [default: last]")
@click.option(
    "--classifier", help="onnx: also the scores of this one that eval left, over its own encoder: linear, ..."
)
@click.option("--out", required=True, type=Folder, help="The file (stgcn: folder) to write, named exactly so.")
@as_json
def export(path: Path, form: Any, out: Path, as_json: bool, **options: Any) -> None:
    """A store (PATH) in another format, for other people's code; or the encoder of a run (PATH), as ONNX."""
    from pipeline.artifacts.paths import RUN_FILE
    from pipeline.export.export import ExportRequest, export
    from trainer.terminal import pipeline_output
    from trainer.terminal.console import ProgressBar

    for_run = {name: options.pop(name) for name in ("layer", "checkpoint", "classifier")}
    if (path / RUN_FILE).is_file():
        of_other_kind(path, "run", {f"--format {form}": form not in {None, "onnx"}, **flags(options)})
        export_run(path, out, as_json, for_run)
        return
    store = open_store(path)
    of_other_kind(path, "store", {"--format onnx": form == "onnx", **flags(for_run)})
    with ProgressBar("export") as bar:
        report = export(ExportRequest(store=store, form=form or "npz", output=out, **options), bar.export)
    emit(asdict(report)) if as_json else show(pipeline_output.export_lines(report))


def export_run(path: Path, out: Path, as_json: bool, options: dict[str, Any]) -> None:
    """The encoder of a run as ONNX; options that were not given are the request's defaults."""
    from trainer.inference.onnx_export import OnnxExportRequest, export_onnx
    from trainer.runs.run import load_run
    from trainer.terminal import training_output

    given = {name: value for name, value in options.items() if value is not None}
    report = export_onnx(OnnxExportRequest(run=load_run(path), output=out, **given))
    emit(asdict(report)) if as_json else show(training_output.onnx_lines(report))


@main.command()
@click.argument("dataset", type=click.Choice([*DATASETS, *TOOLS]), metavar="DATASET")
@click.argument("out", type=Folder)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(1), help="Usable clips.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same files.")
@click.option("--broken", default=0, show_default=True, type=click.IntRange(0), help="Damaged recordings besides.")
@as_json
def synth(dataset: str, out: Path, clips: int, seed: int, broken: int, as_json: bool) -> None:
    """Synthetic recordings in a data set's or a tool's exact grammar, to try things on.

    DATASET is ntu60, ntu120, pku1, pku2 or folder; or mediapipe, openpose, coco, azure-kinect, kinect-v1 or bvh, whose
    files `convert` reads.
    """
    from pipeline.synth.synth import write

    summary = write(dataset, out, clips=clips, seed=seed, broken=broken)
    if as_json:
        emit(asdict(summary))
    else:
        what = f"{summary.files} synthetic {dataset} recordings, {len(summary.classes)} classes"
        show([f"{out}: {what}, {len(summary.broken)} broken, {summary.bytes / 1e6:.1f} MB"])


@main.command()
@click.argument("store", required=False, type=Folder)
@click.option("--quarantine", is_flag=True, help="Print what could not be used, all of it, as CSV.")
@as_json
def inspect(store: Path | None, quarantine: bool, as_json: bool) -> None:
    """What is in STORE (the newest): counts, lengths, quality, recipe, where it came from, what was quarantined."""
    from pipeline.store.summary import quarantine_csv, summarise_store
    from trainer.terminal import pipeline_output

    opened = open_store(store)
    if quarantine:
        emit(opened.quarantine) if as_json else click.echo(quarantine_csv(opened), nl=False)
        return
    found = summarise_store(opened)
    emit(found) if as_json else show(pipeline_output.overview_lines(found), *pipeline_output.overview_tables(found))


@main.command()
@click.argument("path", required=False, type=Folder, metavar="[RUN|STORE]")
@click.option("--out", type=Folder, help="The page.  [default: RUN/report.html, or STORE's name with .report.html]")
@click.option(
    "--raw",
    "roots",
    multiple=True,
    type=Folder,
    help="Of a store: where its recordings lie, to show clips before and after.  [default: raw/, if it is there]",
)
@click.option("--store", type=Folder, help="Of a run: where its store is now, or another one.")
@which
@fast
@device
@as_json
def report(
    path: Path | None, out: Path | None, roots: tuple[Path, ...], store: Path | None, as_json: bool, **options: Any
) -> None:
    """One page on RUN or STORE (the newest finished run, else the newest store): what is in it, what it is worth."""
    from pipeline.report.report import write_report
    from trainer.terminal.console import ProgressBar

    opened, run = report_on(path)
    if run is None:
        never("a STORE", {"--store": store})
        from pipeline.report import store_report

        page, usual = (
            store_report.build_store_report(opened, roots, RAW_FOLDER),
            opened.path.with_name(f"{opened.name}.report.html"),
        )
    else:
        never("a RUN", {"--raw": roots})
        from trainer.report.run_report import RunReportRequest, build_run_report
        from trainer.runtime.device import choose_device

        request = RunReportRequest(run=run, store=store, **options | {"device": choose_device(options["device"])})
        with ProgressBar("report") as bar:
            page, usual = build_run_report(request, bar.update), run.path / "report.html"
    written = write_report(page, out or usual)
    emit(written) if as_json else show([page.answer, f"written: {written['report']}"])


@main.command()
@click.argument("path", type=Folder)
@as_json
@click.pass_context
def verify(ctx: click.Context, path: Path, as_json: bool) -> None:
    """Every byte of a store, split, run, checkpoint or classifier against its seal.

    Exit codes: 0 good, 4 damaged, 1 not ours, 2 not there.
    """
    from pipeline.store.verify import verify as look
    from trainer.terminal import pipeline_output

    verdict = look(path)
    emit(asdict(verdict)) if as_json else show(pipeline_output.verdict_lines(verdict))
    ctx.exit(DAMAGED if verdict.findings else 0)


@main.command()
@click.argument("store", type=Folder)
@click.argument("samples", nargs=-1, metavar="[SAMPLE]...")
@click.option("--mix", nargs=2, metavar="A B", help="Show what SkeleMix makes of two clips, and whose each feature is.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the region that --mix draws.")
@click.option(
    "--raw",
    "roots",
    multiple=True,
    type=Folder,
    help="Where the recordings lie, to show clips as recorded beside them.  [default: raw/, if it is there]",
)
@click.option(
    "--html", type=Folder, help="A page with the clips in motion.  [default: SAMPLE.html, or clips-of-STORE.html]"
)
@click.option("--gif", type=Folder, help="An animation.")
@click.option("--png", type=Folder, help="A strip of poses; as vectors if the name ends in .svg or .pdf.")
@click.option("--poses", default=8, show_default=True, type=click.IntRange(1, 24), help="In the strip.")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in the browser.")
@as_json
def view(
    store: Path,
    samples: tuple[str, ...],
    mix: tuple[str, str] | None,
    seed: int,
    roots: tuple[Path, ...],
    as_json: bool,
    is_opened: bool,
    **outputs: Any,
) -> None:
    """Clips of STORE in motion: by name, by a pattern like 'S001*A043', or without either one of each class."""
    from pipeline.report.clip_view import ClipView, collect_clips, find_row, find_rows, write_clip_view

    opened = open_store(store)
    if mix:
        never("--mix", {"SAMPLE": samples, "--raw": roots})
        from trainer.report.mix_view import mix_figure

        host, partner = (find_row(opened, name) for name in mix)
        looked = ClipView(figures=[mix_figure(opened, host, partner, seed)])
    else:
        looked = collect_clips(opened, find_rows(opened, samples), roots, RAW_FOLDER)
    written = write_clip_view(looked, opened, **outputs)
    say(looked.notes)
    told = {"clips": [figure.title for figure in looked.figures], "written": written, "notes": looked.notes}
    emit(told) if as_json else show([f"written: {path}" for path in written])
    if is_opened:
        click.launch(str(written[0]))


@main.command()
@click.argument("parts", nargs=-1, type=click.Choice(["ingest", "load", "train", "eval"]))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Each runs every way once.")
@click.option("--batch", type=click.IntRange(4), help="Of train.  [default: 32; on a GPU 128 and 1,024]")
@click.option("--small", is_flag=True, help="Tiny sizes, only to try the way: the figures mean nothing.")
@device
@as_json
def bench(parts: tuple[str, ...], rounds: int, batch: int | None, small: bool, device: str, as_json: bool) -> None:
    """How fast PARTS (all of them) are on this machine, beside the peers' way of doing them."""
    from trainer.bench.bench import run_suites
    from trainer.runtime.device import choose_device
    from trainer.terminal import bench_output
    from trainer.terminal.console import ProgressBar

    asked = parts or ("ingest", "load", "train", "eval")
    if batch and "train" not in asked:
        raise click.UsageError("--batch is the size of a training step: name the part train too")
    with ProgressBar("bench") as bar:
        found = run_suites(asked, choose_device(device), rounds=rounds, batch=batch, small=small, progress=bar.note)
    if as_json:
        emit(found)
        return
    for part, rows in found["parts"].items():
        show([], bench_output.bench_table(part, rows))
    show(bench_output.bench_notes(found))


@main.command()
@as_json
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """What this machine offers, and what will not work on it and why.

    Exit codes: 0 all works, 1 something will not.
    """
    from trainer.doctor.doctor import examine
    from trainer.doctor.findings import to_json
    from trainer.terminal import doctor_output

    found = examine()
    if as_json:
        emit(to_json(found))
    else:
        show([], doctor_output.doctor_table(found))
        show([doctor_output.doctor_line(found)])
    ctx.exit(any(finding.state == "problem" for finding in found))


@main.group("config")
def config_group() -> None:
    """What a training or an evaluation is made of, and where each value of it comes from."""


@config_group.command("show")
@click.argument("path", required=False, type=Folder, metavar="[STORE|RUN]")
@click.option("--split", help="Of STORE, the split to train on.  [default: xsub, else the first]")
@click.option("--preset", help="A named configuration.  [default: as pretrain takes it]")
@click.option("--config", type=Folder, help="A TOML file over the preset.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One value over both: epochs=50.")
@click.option("--eval", "evaluation", is_flag=True, help="The settings of eval instead.")
@click.option("--toml", is_flag=True, help="Print a file for pretrain's --config.")
@as_json
def config_show(
    path: Path | None,
    split: str | None,
    preset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    evaluation: bool,
    toml: bool,
    as_json: bool,
) -> None:
    """Every value that `pretrain` would use on STORE (the newest), or that RUN was trained with, and its origin."""
    from pipeline.artifacts.paths import RUN_FILE
    from trainer.config.presets import pretrain_layers
    from trainer.runs.effective_config import (
        config_to_json,
        config_to_toml,
        effective_eval_config,
        effective_pretrain_config,
        effective_run_config,
    )
    from trainer.runs.run import load_run
    from trainer.terminal import training_output

    others = {"--split": split, "--preset": preset, "--config": config}
    if as_json:
        never("--json", {"--toml": toml})
    if evaluation:
        never("--eval", {**others, "--toml": toml, "STORE": path})
        found = effective_eval_config(settings)
    elif path is not None and (path / RUN_FILE).is_file():
        never("RUN", {**others, "--set": settings}, ": it shows what was trained with")
        found = effective_run_config(load_run(path))
    else:
        name, chosen, data = configured(path, split, preset)
        found = effective_pretrain_config(name, pretrain_layers(name, chosen, config, settings), data)
    if as_json:
        emit(config_to_json(found))
    elif toml:
        show(config_to_toml(found))
    else:
        show([], training_output.config_table(found))
        show(found.notes)


@main.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@as_json
def completion(shell: str, as_json: bool) -> None:
    """The script by which SHELL completes commands, options and their values."""
    script = completer(shell)(main, {}, "skelepipe", COMPLETE).source()
    emit({"shell": shell, "use": SHELLS[shell], "script": script}) if as_json else show([f"# {SHELLS[shell]}", script])


@main.command()
@click.argument("folder", default="demo", type=Folder)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(48), help="Synthetic recordings.")
@click.option("--epochs", default=40, show_default=True, type=click.IntRange(1), help="Of the pre-training.")
def demo(folder: Path, clips: int, epochs: int) -> None:
    """The whole job on synthetic recordings, in FOLDER: the commands as they run, and a page on what came out."""
    import contextlib

    from pipeline.errors import OutputExists

    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{folder}: is not empty; remove it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        for command in demo_commands(clips, epochs):
            say(["", f"$ skelepipe {command}"])
            code = main(command.split(), standalone_mode=False)
            if code not in {None, 0, QUARANTINED}:
                click.get_current_context().exit(code)
    page = folder / RUNS_FOLDER / "ntu60-xsub-quick" / "report.html"
    say(
        [
            "",
            f"look into {folder}: text in raw/, store and splits in processed/, encoder and results in runs/",
            f"open {page} in a browser: all of this on a page",
        ]
    )


def demo_commands(clips: int, epochs: int) -> tuple[str, ...]:
    """What `demo` runs."""
    return (
        f"synth ntu60 raw --clips {clips} --broken 3",
        "ingest ntu60 raw",
        "build-splits",
        f"pretrain --preset quick --set epochs={epochs} batch_size=24",
        "eval",
        "report",
    )


def never(option: str, others: dict[str, Any], why: str = "") -> None:
    """Refuse options that mean nothing beside another one."""
    for other, given in others.items():
        if given:
            raise click.UsageError(f"{option} and {other} exclude one another{why}")


def flags(options: dict[str, Any]) -> dict[str, Any]:
    """Options by the names that users write."""
    return {f"--{name.removesuffix('s')}": value for name, value in options.items()}


def of_other_kind(path: Path, kind: str, given: dict[str, Any]) -> None:
    """Refuse what means something to the other kind of artifact that `export` takes."""
    from pipeline.errors import ConfigError

    if wrong := [option for option, value in given.items() if value]:
        goes, other = ("onnx", "stores") if kind == "run" else ("npz, ctrgcn, stgcn, pyskl or hdf5", "runs")
        belong = f"{' and '.join(wrong)} {'belongs' if len(wrong) == 1 else 'belong'} to {other}"
        raise ConfigError(f"{path}: is a {kind}, which goes to --format {goes}; {belong}")


def show_ingest(
    ctx: click.Context, report: Any, lines: list[str], then: str, store: Path | None, as_json: bool
) -> None:
    """What an ingest, a job of it or its end did, with the next command; leaves with the exit code."""
    from trainer.terminal import pipeline_output

    done = report.outcome in {"ingested", "partitions done"}
    if as_json:
        emit(asdict(report))
    else:
        bad = [pipeline_output.quarantine_table(report.quarantined)] if report.quarantined else []
        show([*lines, *after(done, then + (f" {shlex.quote(str(store))}" if store else ""))], *bad)
    ctx.exit(QUARANTINED if report.quarantined and done else 0)


def after(happened: bool, command: str) -> list[str]:
    """What to run next, when the stage did its work."""
    return [f"next: {command}"] if happened else []


def open_store(path: Path | None) -> Any:
    """The store at `path`, or the newest complete one in processed/, saying which and what was skipped."""
    from pipeline.artifacts.latest import open_newest
    from pipeline.store.store import Store

    if path is not None:
        return Store(path)
    opened, skipped = open_newest(PROCESSED_FOLDER, "store", "*.zarr", Store, "skelepipe ingest ntu60 raw/")
    say([*skipped, f"store {opened.path} (newest)"])
    return opened


def report_on(path: Path | None) -> tuple[Any, Any]:
    """The store or the run at `path`, and None for the other; without one the newest finished run, else the store."""
    from pipeline.artifacts.paths import RUN_FILE
    from pipeline.errors import ArtifactNotFound

    if path is None:
        try:
            return None, newest_run()
        except ArtifactNotFound as error:
            say([str(error)])
        return open_store(None), None
    if (path / RUN_FILE).is_file():
        from trainer.runs.run import load_run

        return None, load_run(path)
    return open_store(path), None


def configured(path: Path | None, split: str | None, preset: str | None) -> tuple[str, Any, Any]:
    """The preset that `pretrain` would take, and the data that it would train on; no data where there is no store."""
    from pipeline.artifacts.paths import find_stores
    from pipeline.store.splits import built_split_names, find_split
    from trainer.config.presets import QUICK_PRESET, choose_preset
    from trainer.config.presets import load_preset as named

    is_asked = path is not None or split is not None
    missing = "" if is_asked or find_stores(PROCESSED_FOLDER) else f"no store in {PROCESSED_FOLDER}/"
    if not missing:
        opened = open_store(path)
        missing = "" if is_asked or built_split_names(opened) else "it has no splits (`skelepipe build-splits`)"
    if missing:
        name = preset or QUICK_PRESET
        say([f"{missing}: this is preset {name} before it is fitted to data"])
        return name, named(name), None
    chosen = find_split(opened, split)
    name, found, advice = choose_preset(preset, opened.attributes["dataset"], chosen.name, True, len(chosen.train))
    say(advice)
    return name, found, (opened, chosen)


def newest_run() -> Any:
    """The newest finished run in runs/, saying which and what was skipped."""
    from pipeline.artifacts.latest import open_newest
    from trainer.runs.run import load_finished_run

    opened, skipped = open_newest(RUNS_FOLDER, "run", "*", load_finished_run, "skelepipe pretrain")
    say([*skipped, f"run {opened.path} (newest)"])
    return opened


if __name__ == "__main__":
    main()
