"""The command line of skelepipe: all commands and their options, in the order of the work."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from pipeline.artifacts.paths import PROCESSED_FOLDER, RAW_FOLDER, RUNS_FOLDER, default_store
from trainer.terminal.commands import NAMED_PATH, AspectRatio, JobNumber, MainGroup, RunName
from trainer.terminal.completion import (
    SHELLS,
    complete_recipe,
    complete_run,
    complete_split,
    complete_store,
    complete_store_or_run,
    completion_script,
)
from trainer.terminal.options import (
    DATASETS,
    TOOLS,
    checkpoint_options,
    config_options,
    dataset_argument,
    device_option,
    device_options,
    flag_names,
    force_option,
    json_option,
    reject_combination,
    reject_options_of_other_kind,
    replace_option,
    setting_option,
)
from trainer.terminal.outputs import FORMAT_SUFFIXES, check_output, export_format
from trainer.terminal.printing import is_silent, next_command_line, print_json, print_note, print_results

QUARANTINED = 3
DAMAGED = 4


@click.group(cls=MainGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(None, "-V", "--version", package_name="skelepipe", prog_name="skelepipe")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train a self-supervised action representation on skeleton recordings, and evaluate it against baselines.

    Exit codes: 0 success, 1 failure, 2 usage error, 3 success, but inputs were quarantined, 4 verification failed,
    5 no space or I/O error, 6 output locked, 128 + signal.
    """


@main.command()
@click.argument("tool", type=click.Choice([*TOOLS, "folder"]), metavar="TOOL")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=NAMED_PATH)
@click.option("--out", required=True, type=NAMED_PATH, help="The folder to write; it must be new or empty.")
@click.option(
    "--to",
    "target",
    metavar="LAYOUT",
    help="Convert to another skeleton: kinect-v2, the one of NTU RGB+D.  [default: keep the tool's skeleton]",
)
@click.option(
    "--labels", type=NAMED_PATH, help="A CSV with a column file, and with label, subject, camera or other columns."
)
@click.option(
    "--pattern", metavar="REGEX", help=r"Named groups to find in file names: '(?P<label>\w+)_(?P<subject>\d+)'."
)
@click.option("--every", default=1, show_default=True, type=click.IntRange(1), help="Keep every N-th frame only.")
@click.option(
    "--units",
    type=click.Choice(["m", "cm", "mm", "inch"]),
    help="bvh: unit of the offsets.  [default: the one that gives a person a plausible size]",
)
@click.option(
    "--up", type=click.Choice(["y", "-y", "z", "-z", "x", "-x"]), help="bvh: the axis that points up.  [default: y]"
)
@click.option(
    "--skeleton", type=NAMED_PATH, help="bvh: a TOML with the layout, if the limbs cannot be found by joint names."
)
@click.option(
    "--aspect",
    type=AspectRatio(),
    help="mediapipe without world landmarks: width to height of the image.  [default: 16:9]",
)
@json_option
@click.pass_context
def convert(
    ctx: click.Context, /, tool: str, inputs: tuple[Path, ...], out: Path, as_json: bool, **options: Any
) -> None:
    """Convert the output of another tool (files, folders, zips) to a folder data set for `ingest folder`.

    TOOL is mediapipe, openpose, coco, azure-kinect, kinect-v1 or bvh; or folder, to convert a folder data set to
    another skeleton.
    """
    from pipeline.convert.convert import convert
    from pipeline.convert.inputs import ConvertRequest
    from trainer.terminal import pipeline_output
    from trainer.terminal.console import ProgressBar

    request = ConvertRequest(tool=tool, roots=inputs, output=out, **options)
    with ProgressBar("convert") as bar:
        result = convert(request, bar.show_recordings)
    if as_json:
        print_json(asdict(result))
    else:
        recipe = " --recipe clean-certain" if result.confident else ""
        lines = [
            *pipeline_output.conversion_lines(result),
            *next_command_line(f"skelepipe ingest folder {shlex.quote(str(out))}{recipe}"),
        ]
        print_results(lines, *([pipeline_output.refused_table(result.refused)] if result.refused else []))
    ctx.exit(QUARANTINED if result.refused else 0)


@main.command()
@click.argument("folder", type=NAMED_PATH)
@click.option(
    "--pattern", metavar="REGEX", help=r"Named groups to find in paths: '(?P<label>\w+)_(?P<subject>\w+)_\d+'."
)
@click.option("--force", is_flag=True, help="Replace an existing skeleton.toml and manifest.csv.")
@json_option
def init(folder: Path, pattern: str | None, force: bool, as_json: bool) -> None:
    """Draft the skeleton.toml and manifest.csv of your own recordings in FOLDER (.csv, .npy, .npz, .h5).

    Joints, units and the upward axis come from the recordings, labels and subjects from the names of files and folders.
    """
    from pipeline.convert.draft import draft_folder
    from trainer.terminal import pipeline_output

    draft = draft_folder(folder, pattern=pattern, force=force)
    if as_json:
        print_json(asdict(draft))
    else:
        command = f"skelepipe ingest folder {shlex.quote(str(folder))}"
        print_results([*pipeline_output.draft_lines(draft), *next_command_line(command, done=not draft.todo)])


@main.command()
@dataset_argument
@click.argument("raw", nargs=-1, required=True, type=NAMED_PATH)
@click.option("--out", type=NAMED_PATH, help="The store to write.  [default: processed/DATASET.zarr]")
@click.option(
    "--recipe",
    default="clean",
    show_default=True,
    shell_complete=complete_recipe,
    help="A shipped recipe (clean, none, skelemixclr, ctrgcn, agcn, ...) or a TOML file.",
)
@click.option(
    "--frame-index",
    type=click.Choice(["0-exclusive", "0-inclusive", "1-inclusive"]),
    help="How the frame numbers of clips that are cut out of long recordings are counted.  [default: the recipe's]",
)
@click.option(
    "--max-people",
    type=click.IntRange(1, 2),
    help="People in each recording at most; with 1, pieces of a person are joined.  [default: the data set's, or 2]",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Worker processes; 0 or 1: none.  [default: one per core if there is much to read]",
)
@click.option("--dask", metavar="ADDRESS", help="Use a running Dask cluster: tcp://host:8786.")
@click.option(
    "--partition",
    "job",
    type=JobNumber(),
    help="As one of N jobs of a batch scheduler, process the K-th share only; publish the store with `finalise`.",
)
@click.option("--keep-missing", is_flag=True, help="Include samples that are officially missing or incomplete.")
@click.option("--strict", is_flag=True, help="Publish nothing if any recording cannot be used.")
@click.option("--dry-run", is_flag=True, help="Only report what was found, what is missing, and time and space needed.")
@force_option
@json_option
@click.pass_context
def ingest(
    ctx: click.Context,
    /,
    dataset: str,
    raw: tuple[Path, ...],
    out: Path | None,
    recipe: str,
    frame_index: Any,
    max_people: int | None,
    job: tuple[int, int] | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Clean and normalise recordings and write them to a store: RAW folders or zips to processed/DATASET.zarr.

    DATASET is ntu60, ntu120, pku1, pku2 or folder: any recordings, described by a skeleton.toml; their store is named
    after the folder.
    """
    from pipeline.ingest.batch_jobs import run_job
    from pipeline.ingest.ingest import dry_run as estimate_ingest
    from pipeline.ingest.ingest import ingest
    from pipeline.ingest.request import IngestRequest
    from pipeline.recipes.recipe import load_recipe
    from trainer.terminal import pipeline_output
    from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar

    if job:
        reject_combination("--partition", {"--dask": options["dask"], "--dry-run": dry_run})
        reject_combination("--partition", {"--strict": options["strict"]}, "; --strict belongs to `finalise`")
    if options["dask"]:
        reject_combination("--dask", {"--workers": options["workers"] is not None, "--dry-run": dry_run})
    output = out or default_store(dataset, raw)
    loaded = load_recipe(recipe).with_frame_index(frame_index).with_max_people(max_people)
    request = IngestRequest(dataset=dataset, roots=raw, output=output, recipe=loaded, **options)
    with ProgressBar("ingest", FIRST_RUN_NOTE) as bar:
        if job:
            share = run_job(request, job, bar.show_ingest)
            print_ingest_result(ctx, share, pipeline_output.job_summary(share), "skelepipe finalise", out, as_json)
        result = estimate_ingest(request) if dry_run else ingest(request, bar.show_ingest)
        lines = pipeline_output.ingest_summary(result)
        print_ingest_result(ctx, result, lines, "skelepipe build-splits", out, as_json)


@main.command()
@click.argument("store", required=False, type=NAMED_PATH, shell_complete=complete_store)
@click.option("--strict", is_flag=True, help="Publish nothing if any recording could not be used.")
@force_option
@json_option
@click.pass_context
def finalise(ctx: click.Context, store: Path | None, strict: bool, force: bool, as_json: bool) -> None:
    """Publish STORE (default: the only unfinished one in processed/) after all jobs of `ingest --partition`."""
    from pipeline.ingest.batch_jobs import finalise, find_unfinished_output
    from trainer.terminal import pipeline_output

    output = store or find_unfinished_output(PROCESSED_FOLDER)
    if store is None:
        print_note([f"store {output} (the only unfinished one)"])
    result = finalise(output, strict=strict, force=force)
    lines = pipeline_output.ingest_summary(result)
    print_ingest_result(ctx, result, lines, "skelepipe build-splits", store, as_json)


def print_ingest_result(
    ctx: click.Context, result: Any, lines: list[str], next_command: str, store: Path | None, as_json: bool
) -> NoReturn:
    """Print the result of an ingest, a job or `finalise`, and exit with its exit code.

    Args:
        ctx: of the command.
        result: of the stage.
        lines: its summary.
        next_command: to suggest.
        store: as the user named it; added to the next command.
        as_json: print the result as JSON instead.
    """
    from trainer.terminal import pipeline_output

    is_done = result.outcome in {"ingested", "partitions done"}
    if as_json:
        print_json(asdict(result))
    else:
        command = f"{next_command} {shlex.quote(str(store))}" if store else next_command
        tables = [pipeline_output.quarantine_table(result.quarantined)] if result.quarantined else []
        print_results([*lines, *next_command_line(command, done=is_done)], *tables)
    ctx.exit(QUARANTINED if result.quarantined and is_done else 0)


@main.command("build-splits")
@click.argument("store", required=False, type=NAMED_PATH, shell_complete=complete_store)
@click.option(
    "--split",
    "names",
    multiple=True,
    shell_complete=complete_split,
    help="xsub, xview, xset, ...  [default: all splits that the store can have]",
)
@click.option(
    "--split-file",
    type=NAMED_PATH,
    help="Lists of the training and test recordings of one split, in the format that PKU-MMD ships.",
)
@click.option(
    "--label-fraction",
    "fractions",
    multiple=True,
    type=float,
    help="Also build labelled subsets of the training clips, of these fractions: 0.01 0.1.",
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    default=(0,),
    show_default=True,
    type=click.IntRange(0),
    help="Seeds of the labelled subsets, one subset for each: 0 1 2.",
)
@json_option
def build_splits(store: Path | None, as_json: bool, **options: Any) -> None:
    """Build the train/test splits of STORE (default: the newest), and labelled subsets of the training clips."""
    from pipeline.store.build_splits import build_splits
    from trainer.terminal import pipeline_output
    from trainer.terminal.artifacts import open_store

    opened = open_store(store)
    built = build_splits(opened, **options)
    if as_json:
        print_json(pipeline_output.splits_json(built))
    else:
        lines = pipeline_output.splits_summary(built, opened.path)
        named = f" {shlex.quote(str(store))}" if store else ""
        print_results([*lines, *next_command_line(f"skelepipe pretrain{named}", done=bool(built.splits))])


@main.command()
@click.argument("store", required=False, type=NAMED_PATH, shell_complete=complete_store)
@config_options
@click.option(
    "--method",
    "method_name",
    help="skeletonclr, skelemixclr (mean of the mixed views) or skelemixclr+ (sum).  [default: the preset's]",
)
@click.option("--stream", help="joint, motion or bone.  [default: the preset's]")
@click.option("--seed", type=click.IntRange(0), help="The random seed.  [default: the preset's]")
@click.option("--epochs", type=click.IntRange(1), help="The same as --set epochs=N.")
@click.option("--batch-size", type=click.IntRange(2), help="The same as --set batch_size=N.")
@click.option("--lr", type=float, help="The same as --set learning_rate=X.")
@click.option("--out", type=NAMED_PATH, help="The run's folder.  [default: runs/STORE-SPLIT-PRESET]")
@click.option("--name", type=RunName(), help="The same as --out runs/NAME.")
@click.option(
    "--resume",
    type=NAMED_PATH,
    shell_complete=complete_run,
    help="Resume this run with the store and settings that it records. --epochs N trains it longer, unless its "
    "schedule is cosine.",
)
@click.option(
    "--residency",
    type=click.Choice(["auto", "gpu", "host", "stream"]),
    default="auto",
    show_default=True,
    help="Where clips are held: in GPU memory, in host memory, or read from disk. auto: the first with enough memory. "
    "Does not change the result.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(0, 1024),
    help="Threads that prefetch batches. Does not change the result.",
)
@click.option("--any-recipe", is_flag=True, help="Train even if the preset expects another recipe than the store's.")
@device_options
@force_option
@json_option
def pretrain(
    store: Path | None,
    split: str | None,
    preset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    method_name: str | None,
    stream: str | None,
    seed: int | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float | None,
    out: Path | None,
    name: str | None,
    resume: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train an encoder by contrastive learning on the training clips of STORE (default: the newest).

    Run the same command again, or `pretrain --resume RUN`, to resume an interrupted training.
    """
    from trainer.config.layers import option_name
    from trainer.pretrain.pretrain import pretrain
    from trainer.terminal import training_output
    from trainer.terminal.requests import pretrain_request, resume_request

    if name is not None:
        reject_combination("--name", {"--out": out})
        out = RUNS_FOLDER / name
    values = {"stream": stream, "seed": seed, "batch_size": batch_size, "learning_rate": lr, "method.name": method_name}
    if resume is None:
        values["epochs"] = epochs
        request = pretrain_request(store, split, preset, config, settings, output=out, short_options=values, **options)
    else:
        recorded = {
            "STORE": store,
            "--split": split,
            "--preset": preset,
            "--config": config,
            "--out": out,
            "--name": name,
        }
        flags = {option_name(key): value is not None for key, value in values.items()}
        reject_combination("--resume", {**recorded, **flags, "--force": options["force"]}, ": the run records it")
        longer = () if epochs is None else (f"epochs={epochs}",)
        request = resume_request(resume, (*settings, *longer), **{**options, "any_recipe": True})
    with training_output.TrainingBar(shown=not is_silent()) as bar:
        result = pretrain(request, bar.show_training, bar.print_line)
    if as_json:
        print_json(training_output.pretrain_json(result))
    else:
        print_results([*training_output.pretrain_summary(result), *next_command_line("skelepipe eval")])


@main.command("eval")
@click.argument("run", nargs=-1, type=NAMED_PATH, shell_complete=complete_run)
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
    "--store",
    type=NAMED_PATH,
    shell_complete=complete_store,
    help="Another store than the run was trained on (transfer), or the new path of that store.",
)
@click.option(
    "--split", shell_complete=complete_split, help="Another split.  [default: the one that the run was trained on]"
)
@click.option(
    "--label-fraction",
    "fractions",
    multiple=True,
    type=float,
    default=(0.1,),
    show_default=True,
    help="semi: fraction of the training labels. Every subset of it that build-splits has stored is used.",
)
@click.option(
    "--batch-norm",
    type=click.Choice(["both", "trained", "recalibrated"]),
    default="both",
    show_default=True,
    help="Batch-norm statistics of the frozen encoder. trained: those of the training. recalibrated: recomputed on "
    "the unmixed training clips. both: a row for each.",
)
@setting_option
@click.option("--k", type=click.IntRange(1), help="knn: number of neighbours.  [default: 20]")
@click.option("--seed", type=click.IntRange(0), help="The random seed.  [default: 0]")
@click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Also evaluate baselines: an untrained encoder, training from scratch, raw coordinates.",
)
@click.option("--fuse", is_flag=True, help="Also add the scores of several runs, for example of three streams.")
@click.option("--weights", multiple=True, type=float, help="Weights of the runs in --fuse.  [default: by stream]")
@click.option("--force", is_flag=True, help="Evaluate again, even if results with the same settings are stored.")
@checkpoint_options
@device_options
@json_option
def evaluate(
    run: tuple[Path, ...],
    settings: tuple[str, ...],
    k: int | None,
    seed: int | None,
    fuse: bool,
    weights: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Evaluate the encoder of each RUN (default: the newest finished run), and compare it with baselines."""
    from trainer.terminal import evaluation_output
    from trainer.terminal.console import ProgressBar
    from trainer.terminal.requests import evaluate_runs, open_runs

    runs, fusion_weights = open_runs(run, fuse, weights)
    short_options = {"knn.k": k, "seed": seed}
    settings += tuple(f"{key}={value}" for key, value in short_options.items() if value is not None)
    found = evaluate_runs(
        runs, fusion_weights, settings=settings, progress=lambda run: ProgressBar(f"eval {run.path}"), **options
    )
    if as_json:
        print_json(next(iter(found.values())) if len(found) == 1 else found)
        return
    for results in found.values():
        print_results([], evaluation_output.results_table(results))
        print_results(evaluation_output.results_notes(results))


@main.command()
@click.argument("run", required=False, type=NAMED_PATH, shell_complete=complete_run)
@click.option(
    "--store", type=NAMED_PATH, shell_complete=complete_store, help="Embed the clips of a store.  [default: the run's]"
)
@click.option("--split", shell_complete=complete_split, help="Embed the clips of one of its splits only.")
@click.option(
    "--subset",
    type=click.Choice(["train", "test", "all"]),
    default="all",
    show_default=True,
    help="Which side of the split to embed; without --split, of xsub, else of the first.",
)
@click.option(
    "--input",
    "array",
    type=NAMED_PATH,
    help="Embed the array `data` (N, 3, T, V, M) of an .npz; with `lengths`, clips are resized as in training.",
)
@click.option(
    "--layer",
    type=click.Choice(["backbone", "head"]),
    default="backbone",
    show_default=True,
    help="Features before or after the projection head.",
)
@click.option("--normalise", is_flag=True, help="Scale every feature vector to length 1.")
@click.option("--out", required=True, type=NAMED_PATH, help="The .npz to write: features, labels, names.")
@replace_option
@checkpoint_options
@device_options
@json_option
def embed(
    run: Path | None,
    store: Path | None,
    split: str | None,
    subset: str,
    array: Path | None,
    layer: Any,
    normalise: bool,
    out: Path,
    force: bool,
    checkpoint: Any,
    fast: bool,
    device: str,
    as_json: bool,
) -> None:
    """Compute features of clips with the frozen encoder of RUN (default: the newest), and write them to one .npz."""
    from pipeline.store.splits import find_split
    from trainer.inference.embed import embed, from_file, from_store
    from trainer.runs.run import find_run_store, load_run
    from trainer.terminal import training_output
    from trainer.terminal.artifacts import open_newest_run
    from trainer.terminal.device import command_device

    if store is not None and array is not None:
        raise click.UsageError("name either --store or --input")
    check_output(out, force=force, inputs=[path for path in (run, store, array) if path], suffixes=(".npz",))
    opened = load_run(run) if run else open_newest_run()
    if array is not None:
        batch = from_file(opened, array)
    else:
        data = find_run_store(opened, store)
        side = find_split(data, split) if split or subset != "all" else None
        batch = from_store(opened, data, side, subset)
    options = {"device": command_device(device), "which": checkpoint, "fast": fast}
    found = embed(opened, batch, out, layer=layer, normalised=normalise, **options)
    result = {"out": out, **found, "layer": layer, "normalised": normalise}
    print_json(result) if as_json else print_results(training_output.embed_lines(result))


@main.command("import-weights")
@click.argument("file", type=NAMED_PATH)
@click.option(
    "--source",
    required=True,
    type=click.Choice(["skelemixclr", "crosclr", "aimclr"]),
    help="The code base that saved the checkpoint.",
)
@click.option(
    "--stream",
    type=click.Choice(["joint", "motion", "bone"]),
    default="joint",
    show_default=True,
    help="Which encoder to import if the file has several; otherwise the stream that the encoder was trained on.",
)
@click.option(
    "--recipe",
    shell_complete=complete_recipe,
    help="The recipe of its training clips: aimclr-pku, ...  [default: the one of the source for NTU RGB+D]",
)
@click.option("--out", type=NAMED_PATH, help="The run's folder.  [default: runs/FILE without its suffix]")
@force_option
@json_option
def import_weights(file: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Import a checkpoint of SkeleMixCLR, SkeletonCLR, CrosSCLR or AimCLR as a run, to embed with and evaluate."""
    from trainer.runs.imported.import_weights import ImportRequest, import_weights
    from trainer.terminal import training_output

    result = import_weights(ImportRequest(file=file, output=out or RUNS_FOLDER / file.stem, **options))
    if as_json:
        print_json(training_output.import_json(result))
        return
    next_command = f"skelepipe eval {shlex.quote(str(result.run.path))} --store STORE"
    print_results([*training_output.import_summary(result), *next_command_line(next_command)])


@main.command()
@click.argument(
    "paths", nargs=-1, required=True, metavar="[RUN] FILES...", type=NAMED_PATH, shell_complete=complete_run
)
@click.option(
    "--classifier",
    help="A classifier that eval saved: the newest of a name (linear, linear-recalibrated, finetune, ...), or exactly "
    "one of its names with the digest of the settings (linear-1a2b3c4d).  [default: the newest]",
)
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Number of classes for each clip.")
@click.option(
    "--skeleton",
    type=NAMED_PATH,
    help="The skeleton.toml with units and axes of arrays that are in no manifest.csv.  [default: the nearest]",
)
@click.option("--out", type=NAMED_PATH, help="Also write a .csv, or a .jsonl with one JSON object per line.")
@click.option(
    "--window", type=float, metavar="SECONDS", help="Predict a class for each window of this length, not for the whole."
)
@click.option("--stride", type=float, metavar="SECONDS", help="Time between windows.  [default: half of --window]")
@click.option("--plot", type=NAMED_PATH, help="With --window: plot the class over time, to a .png, .svg or .pdf.")
@replace_option
@device_options
@json_option
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    out: Path | None,
    window: float | None,
    stride: float | None,
    plot: Path | None,
    force: bool,
    device: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Predict the classes of new recordings in FILES (files, folders, zips) with a classifier that `eval` saved.

    RUN is the newest run by default. With `-` and --window, frames are read from standard input, one per line: numbers
    as in a .csv, or JSON arrays.
    """
    from pipeline.sources.windows import Windows
    from trainer.inference.predict import PredictRequest, predict, to_json
    from trainer.runs.run import load_run
    from trainer.terminal import training_output
    from trainer.terminal.artifacts import open_newest_run, split_run
    from trainer.terminal.console import ProgressBar
    from trainer.terminal.device import command_device

    run, files = split_run(paths)
    if not files:
        raise click.UsageError(f"name the recordings after the run {run}")
    for path, suffixes in ((out, (".csv", ".jsonl")), (plot, (".png", ".svg", ".pdf"))):
        if path is not None:
            skeleton = [path for path in (options["skeleton"],) if path]
            check_output(path, force=force, inputs=[*paths, *skeleton], suffixes=suffixes)
    if window is None and (stride is not None or plot is not None):
        raise click.UsageError("--stride and --plot belong to --window")
    if window is not None and stride is None:
        stride = window / 2
    windows = None if window is None or stride is None else Windows.of_seconds(window, stride)
    if files == (Path("-"),):
        reject_combination(
            "standard input", {"--out": out, "--plot": plot, "--json": as_json}, ": it prints JSON lines"
        )
        if window is None:
            raise click.UsageError("standard input needs --window")
        opened = load_run(run) if run else open_newest_run()
        predict_lines(opened, window=window, stride=stride, device=command_device(device), **options)
        return
    opened = load_run(run) if run else open_newest_run()
    options |= {"device": command_device(device), "windows": windows}
    request = PredictRequest(run=opened, roots=files, output=out, **options)
    with ProgressBar("predict") as bar:
        result = predict(request, bar.show_recordings)
    if plot is not None:
        from trainer.report.prediction_plot import plot_predictions

        plot_predictions(result.answers, plot)
    if as_json:
        print_json(to_json(result))
    else:
        print_results([], training_output.predictions_table(result))
        print_note([*training_output.predictions_notes(result), *(f"written: {path}" for path in (out, plot) if path)])
    ctx.exit(QUARANTINED if result.refused else 0)


def predict_lines(run: Any, **options: Any) -> None:
    """Print a JSON line for each window of the recording on standard input, as soon as it is complete."""
    from trainer.inference.predict_stream import StreamRequest, predict_stream

    for line in predict_stream(StreamRequest(run=run, **options), sys.stdin):
        print_results([line])


@main.command()
@click.argument("path", required=False, type=NAMED_PATH, shell_complete=complete_store_or_run)
@click.option(
    "--format",
    "form",
    type=click.Choice(["npz", "ctrgcn", "stgcn", "pyskl", "hdf5", "onnx"]),
    help="npz, hdf5: a store as padded arrays with the labels and names of its clips. ctrgcn, stgcn, pyskl: a store "
    "as training data of that code base. onnx: the encoder of a run.  [default: by the suffix of --out]",
)
@click.option(
    "--split",
    shell_complete=complete_split,
    help="ctrgcn, stgcn: the split whose train and test sides to write.  [default: xsub, else the first]",
)
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice(["joint", "bone", "motion", "bone-motion"]),
    help="stgcn: one or several streams, as defined by 2s-AGCN.  [default: joint]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    help="pyskl: type of the coordinates; PYSKL's own file has float16, exact to 2 mm.  [default: float32]",
)
@click.option(
    "--layer",
    type=click.Choice(["backbone", "head"]),
    help="onnx: features before or after the projection head.  [default: backbone]",
)
@click.option("--checkpoint", type=click.Choice(["last", "best"]), help="onnx: checkpoint of the run.  [default: last]")
@click.option(
    "--classifier", help="onnx: also export the scores of a classifier that eval saved, on its own encoder: linear, ..."
)
@click.option("--out", required=True, type=NAMED_PATH, help="The exact path of the file (stgcn: folder) to write.")
@replace_option
@json_option
def export(path: Path | None, form: Any, out: Path, force: bool, as_json: bool, **options: Any) -> None:
    """Export a store (PATH) in another format, for other code bases; or the encoder of a run (PATH) as ONNX.

    PATH is the newest store by default; for ONNX, the newest run.
    """
    from pipeline.artifacts.paths import RUN_FILE
    from pipeline.export.export import ExportRequest, export, padding_note
    from trainer.terminal import pipeline_output
    from trainer.terminal.artifacts import open_newest_run, open_store
    from trainer.terminal.console import ProgressBar

    if path is None:
        is_onnx = "onnx" in (form, export_format(out, "npz"))
        path = open_newest_run().path if is_onnx else open_store(None).path
    is_run = (path / RUN_FILE).is_file()
    form = form or export_format(out, "onnx" if is_run else "npz")
    if form == "stgcn" and out.suffix:
        raise click.UsageError(f"--format stgcn writes a folder, but {out} has the name of a file")
    suffixes = FORMAT_SUFFIXES["onnx" if is_run else form]
    check_output(out, force=force, inputs=[path], folder=form == "stgcn", suffixes=suffixes)
    run_options = {name: options.pop(name) for name in ("layer", "checkpoint", "classifier")}
    if is_run:
        store_options = {f"--format {form}": form != "onnx", **flag_names(options)}
        reject_options_of_other_kind(path, "run", store_options)
        export_run(path, out, as_json, run_options)
        return
    store = open_store(path)
    reject_options_of_other_kind(path, "store", {"--format onnx": form == "onnx", **flag_names(run_options)})
    request = ExportRequest(store=store, format=form, output=out, **options)
    print_note([note] if (note := padding_note(request)) else [])
    with ProgressBar("export") as bar:
        result = export(request, bar.show_clips)
    print_json(asdict(result)) if as_json else print_results(pipeline_output.export_lines(result))


def export_run(path: Path, out: Path, as_json: bool, options: dict[str, Any]) -> None:
    """Export the encoder of a run as ONNX; an option that is None takes the default of the request."""
    from trainer.inference.onnx_export import OnnxExportRequest, export_onnx
    from trainer.runs.run import load_run
    from trainer.terminal import training_output

    given = {name: value for name, value in options.items() if value is not None}
    result = export_onnx(OnnxExportRequest(run=load_run(path), output=out, **given))
    print_json(asdict(result)) if as_json else print_results(training_output.onnx_lines(result))


@main.command()
@click.argument("dataset", type=click.Choice([*DATASETS, *TOOLS]), metavar="DATASET")
@click.argument("out", type=NAMED_PATH)
@click.option("--clips", default=240, show_default=True, type=click.IntRange(1), help="Number of usable clips.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="The random seed; it determines every byte."
)
@click.option(
    "--broken", default=0, show_default=True, type=click.IntRange(0), help="Number of additional, damaged recordings."
)
@json_option
def synth(dataset: str, out: Path, clips: int, seed: int, broken: int, as_json: bool) -> None:
    """Write synthetic recordings in the exact file format of a data set or a tool, to try things out.

    DATASET is ntu60, ntu120, pku1, pku2 or folder; or mediapipe, openpose, coco, azure-kinect, kinect-v1 or bvh, whose
    files `convert` reads.
    """
    from pipeline.synth.synth import write

    summary = write(dataset, out, clips=clips, seed=seed, broken=broken)
    if as_json:
        print_json(asdict(summary))
    else:
        what = f"{summary.files} synthetic {dataset} recordings, {len(summary.classes)} classes"
        print_results([f"{out}: {what}, {len(summary.broken)} broken, {summary.bytes / 1e6:.1f} MB"])


@main.command()
@click.argument("store", required=False, type=NAMED_PATH, shell_complete=complete_store)
@click.option("--quarantine", is_flag=True, help="Print all recordings that could not be used, as CSV.")
@json_option
def inspect(store: Path | None, quarantine: bool, as_json: bool) -> None:
    """Summarise STORE (default: the newest): counts, lengths, repairs, recipe, provenance, quarantine."""
    from pipeline.store.summary import quarantine_csv, summarise_store
    from trainer.terminal import pipeline_output
    from trainer.terminal.artifacts import open_store

    opened = open_store(store)
    if quarantine:
        print_json(opened.quarantine) if as_json else click.echo(quarantine_csv(opened), nl=False)
        return
    summary = summarise_store(opened)
    if as_json:
        print_json(summary)
    else:
        print_results(pipeline_output.overview_lines(summary), *pipeline_output.overview_tables(summary))


@main.command()
@click.argument("path", required=False, type=NAMED_PATH, metavar="[RUN|STORE]", shell_complete=complete_store_or_run)
@click.option(
    "--out", type=NAMED_PATH, help="The HTML file.  [default: RUN/report.html, or STORE's name with .report.html]"
)
@replace_option
@click.option(
    "--raw",
    "roots",
    multiple=True,
    type=NAMED_PATH,
    help="STORE: its recordings, to show clips before and after cleaning.  [default: raw/, if it exists]",
)
@click.option(
    "--store", type=NAMED_PATH, shell_complete=complete_store, help="RUN: the new path of its store, or another store."
)
@checkpoint_options
@device_options
@json_option
def report(
    path: Path | None,
    out: Path | None,
    force: bool,
    roots: tuple[Path, ...],
    store: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write an HTML report on RUN or STORE (default: the newest finished run, else the newest store)."""
    from pipeline.report.report import write_report
    from pipeline.store.store import Store
    from trainer.terminal.artifacts import resolve_report_target

    target = resolve_report_target(path)
    folder = target.path
    default = folder.with_name(f"{target.name}.report.html") if isinstance(target, Store) else folder / "report.html"
    inputs = [folder, RAW_FOLDER, *roots, *([store] if store else [])]
    check_output(out or default, force=force, inputs=inputs, default=out is None, suffixes=(".html", ".htm"))
    if isinstance(target, Store):
        reject_combination("a STORE", {"--store": store})
        from pipeline.report.store_report import build_store_report

        page = build_store_report(target, roots, RAW_FOLDER)
    else:
        reject_combination("a RUN", {"--raw": roots})
        page = run_report(target, store, options)
    written = write_report(page, out or default)
    lines = [page.answer, f"written: {written['report']}"]
    if out is None and not isinstance(target, Store):
        from pipeline.report.chart_files import save_charts

        written["charts"] = save_charts(page, folder / "report")
        lines.append(f"written: {folder / 'report'}, every chart as .png and .csv")
    print_json(written) if as_json else print_results(lines)


def run_report(run: Any, store: Path | None, options: dict[str, Any]) -> Any:
    """Build the report on a run."""
    from trainer.report.run_report import RunReportRequest, build_run_report
    from trainer.terminal.console import ProgressBar
    from trainer.terminal.device import command_device

    request = RunReportRequest(run=run, store=store, **options | {"device": command_device(options["device"])})
    with ProgressBar("report") as bar:
        return build_run_report(request, bar.update)


@main.command()
@click.argument("path", required=False, type=NAMED_PATH, shell_complete=complete_store_or_run)
@json_option
@click.pass_context
def verify(ctx: click.Context, path: Path | None, as_json: bool) -> None:
    """Verify the checksum of every file of a store, split, run, checkpoint or classifier (default: the newest run).

    Exit codes: 0 good, 4 damaged, 1 not an artifact of skelepipe, 2 not found.
    """
    from pipeline.store.verify import verify
    from trainer.terminal import pipeline_output
    from trainer.terminal.artifacts import newest_path

    verdict = verify(path or newest_path())
    print_json(asdict(verdict)) if as_json else print_results(pipeline_output.verdict_lines(verdict))
    ctx.exit(DAMAGED if verdict.findings else 0)


@main.command()
@click.argument("store", required=False, type=NAMED_PATH, shell_complete=complete_store)
@click.argument("samples", nargs=-1, metavar="[SAMPLE]...")
@click.option(
    "--mix", nargs=2, metavar="A B", help="Show how SkeleMix mixes two clips, and to which clip each feature belongs."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Random seed of the region that --mix pastes."
)
@click.option(
    "--raw",
    "roots",
    multiple=True,
    type=NAMED_PATH,
    help="The original recordings, to show them next to the clips.  [default: raw/, if it exists]",
)
@click.option(
    "--html",
    type=NAMED_PATH,
    help="Write an HTML file with the clips in motion.  [default: SAMPLE.html, or clips-of-STORE.html]",
)
@click.option("--gif", type=NAMED_PATH, help="Write an animation.")
@click.option("--png", type=NAMED_PATH, help="Write a strip of poses; a name that ends in .svg or .pdf gives vectors.")
@replace_option
@click.option("--poses", default=8, show_default=True, type=click.IntRange(1, 24), help="Number of poses in the strip.")
@click.option("--open", "is_opened", is_flag=True, help="Open the HTML file in the browser.")
@json_option
def view(
    store: Path | None,
    samples: tuple[str, ...],
    mix: tuple[str, str] | None,
    seed: int,
    roots: tuple[Path, ...],
    force: bool,
    as_json: bool,
    is_opened: bool,
    poses: int,
    **paths: Path | None,
) -> None:
    """Show clips of STORE (default: the newest) in motion: by name, by a pattern like 'S001*A043', or by class.

    A class is given by its name or as A043. By default, one clip of each of the first classes is shown.
    """
    from pipeline.report.clip_view import ClipView, collect_clips, default_page, find_row, find_rows, write_clip_view
    from trainer.terminal.artifacts import open_store

    if store is not None and not store.exists() and store.suffix != ".zarr":
        store, samples = None, (str(store), *samples)
    opened = open_store(store)
    inputs = [opened.path, RAW_FOLDER, *roots]
    suffixes = {"html": (".html", ".htm"), "gif": (".gif",), "png": (".png", ".svg", ".pdf")}
    for name, path in paths.items():
        if path:
            check_output(path, force=force, inputs=inputs, suffixes=suffixes[name])
    if mix:
        reject_combination("--mix", {"SAMPLE": samples, "--raw": roots})
        from trainer.report.mix_view import mix_figure

        host, partner = (find_row(opened, name) for name in mix)
        clips = ClipView(figures=[mix_figure(opened, host, partner, seed)])
    else:
        clips = collect_clips(opened, find_rows(opened, samples), roots, RAW_FOLDER)
    if not any(paths.values()):
        page = default_page(clips, opened)
        check_output(page, force=force, inputs=inputs, default=True)
        paths = {"html": page}
    written = write_clip_view(clips, opened, poses=poses, **paths)
    print_note(clips.notes)
    result = {"clips": [figure.title for figure in clips.figures], "written": written, "notes": clips.notes}
    print_json(result) if as_json else print_results([f"written: {path}" for path in written])
    if is_opened:
        click.launch(str(written[0]))


@main.command()
@click.argument("suites", nargs=-1, type=click.Choice(["ingest", "load", "train", "eval"]))
@click.option(
    "--rounds", default=3, show_default=True, type=click.IntRange(1), help="How often each measurement is repeated."
)
@click.option("--batch", type=click.IntRange(4), help="train: the batch size.  [default: 32; on a GPU 128 and 1,024]")
@click.option("--small", is_flag=True, help="Use tiny sizes to try the command; the figures mean nothing.")
@device_option
@json_option
def bench(suites: tuple[str, ...], batch: int | None, device: str, as_json: bool, **options: Any) -> None:
    """Measure the speed of ingest, loading, training and evaluation here, compared with a reference implementation."""
    from trainer.bench.bench import run_suites
    from trainer.terminal import bench_output
    from trainer.terminal.console import ProgressBar
    from trainer.terminal.device import command_device

    chosen = suites or ("ingest", "load", "train", "eval")
    if batch and "train" not in chosen:
        raise click.UsageError("--batch is the batch size of the suite train: name train, too")
    with ProgressBar("bench") as bar:
        found = run_suites(chosen, command_device(device), batch=batch, progress=bar.set_note, **options)
    if as_json:
        print_json(found)
        return
    for suite, rows in found["parts"].items():
        print_results([], bench_output.bench_table(suite, rows))
    print_results(bench_output.bench_notes(found))


@main.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check the installation and this machine: versions, extras, GPU, disk space and threads.

    Exit codes: 0 everything works, 1 something will not work.
    """
    from trainer.doctor.doctor import examine
    from trainer.doctor.findings import to_json
    from trainer.terminal import doctor_output

    found = examine()
    if as_json:
        print_json(to_json(found))
    else:
        print_results([], doctor_output.doctor_table(found))
        print_results([doctor_output.doctor_summary(found)])
    ctx.exit(any(finding.state == "problem" for finding in found))


@main.group("config")
def config_group() -> None:
    """Show the configuration of a training or an evaluation, and where each value comes from."""


@config_group.command("show")
@click.argument("path", required=False, type=NAMED_PATH, metavar="[STORE|RUN]", shell_complete=complete_store_or_run)
@config_options
@click.option("--eval", "evaluation", is_flag=True, help="Show the settings of eval instead.")
@click.option("--toml", is_flag=True, help="Print a file for pretrain's --config.")
@json_option
def config_show(toml: bool, as_json: bool, **options: Any) -> None:
    """Show every value that `pretrain` would use on STORE (default: the newest) or that RUN used, and its origin."""
    from trainer.runs.effective_config import config_to_json, config_to_toml
    from trainer.terminal import training_output
    from trainer.terminal.requests import resolve_config

    if as_json:
        reject_combination("--json", {"--toml": toml})
    found = resolve_config(toml=toml, **options)
    if as_json:
        print_json(config_to_json(found))
    elif toml:
        print_results(config_to_toml(found))
    else:
        print_results([], training_output.config_table(found))
        print_results(found.notes)


@main.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the script with which SHELL completes commands, options and their values."""
    script = completion_script(shell, main)
    if as_json:
        print_json({"shell": shell, "use": SHELLS[shell], "script": script})
    else:
        print_results([f"# {SHELLS[shell]}", script])


@main.command()
@click.argument("folder", default="demo", type=NAMED_PATH)
@click.option(
    "--clips", default=480, show_default=True, type=click.IntRange(48), help="Number of synthetic recordings."
)
@click.option("--epochs", type=click.IntRange(1), help="Epochs of the pre-training.  [default: as in the preset demo]")
@click.pass_context
def demo(ctx: click.Context, folder: Path, clips: int, epochs: int | None) -> None:
    """Run the whole pipeline on synthetic recordings in FOLDER: print each command, and write an HTML report."""
    from trainer.terminal.demo import demo_commands, run_demo

    ctx.exit(run_demo(main, folder, demo_commands(clips, epochs), {QUARANTINED}))


if __name__ == "__main__":
    main()
