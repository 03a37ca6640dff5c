"""Hostile settings, runs from strangers, outputs and damaged runs."""

import json
import shutil
import time
from pathlib import Path

import numpy as np

from pipeline.artifacts import manifest, schemas
from tests.proofs.hostile_cases import TINY, case

# Absurd settings


def absurd(setting: str, mentions: str = "") -> None:
    """Register a training with one absurd setting."""

    def prepare(folder: Path) -> str:
        batch = "" if setting.startswith("batch_size") else " batch_size=12"
        return f"pretrain --preset quick --out runs/absurd --set {setting}{batch}"

    prepare.__name__ = f"absurd_{setting}"
    case(1, 2, mentions=mentions or setting.partition("=")[0].rpartition(".")[2])(prepare)


absurd("pair.queue_size=100000000000")
absurd("encoder.hidden_channels=1000000")
absurd("encoder.hidden_dim=100000000")
absurd("frames=100000000")
absurd("encoder.temporal_kernel=1000001")
absurd("epochs=1e20")
absurd("batch_size=1000000000")
absurd("encoder.feature_dim=1000000000")


@case(1, 2, mentions=r"linear\.epochs|epochs")
def absurd_linear_epochs(folder: Path) -> str:
    return "eval runs/tiny --set linear.epochs=1e20"


@case(0, 1, 2)
def absurd_neighbours(folder: Path) -> str:
    return "eval runs/tiny --protocol knn --k 1000000000000"


@case(1, mentions="finetune, pre-trained: the training diverged: .* epoch")
def a_fine_tuning_that_diverges(folder: Path) -> str:
    return "eval runs/tiny --protocol finetune --set finetune.learning_rate=1e20 finetune.epochs=5"


# Runs from strangers


def stranger(key: str, value: object, command: str) -> None:
    """Register a command on a run whose run.json was changed, with all checksums written again."""

    def prepare(folder: Path) -> str:
        path = folder / "runs/tiny/run.json"
        document = json.loads(path.read_text())
        place = document["config"]
        *parents, last = key.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
        facts = {name: document[name] for name in document if name not in {"kind", "format_version", "digest"}}
        path.write_bytes(manifest.encode_document(schemas.RUN, facts))
        for checkpoint in (folder / "runs/tiny/checkpoints").iterdir():
            meta = json.loads((checkpoint / "meta.json").read_text())
            meta["run"] = json.loads(path.read_text())["digest"]
            (checkpoint / "meta.json").write_text(json.dumps(meta))
            manifest.write_manifest(checkpoint, schemas.CHECKPOINT)
        return command

    prepare.__name__ = f"stranger_{key}_{command.partition(' ')[0]}"
    case(1, mentions=key.rpartition(".")[2] + "|shape|memory|checkpoint")(prepare)


for _key, _value in [
    ("encoder.hidden_channels", 10**6),
    ("encoder.temporal_kernel", 1000001),
    ("frames", 10**9),
    ("pair.queue_size", 10**12),
    ("encoder.hidden_dim", 10**9),
]:
    for _command in [
        "embed runs/tiny --store processed/ntu60.zarr --out f.npz",
        "eval runs/tiny",
        "export runs/tiny --out model.onnx",
    ]:
        stranger(_key, _value, _command)


# Outputs that exist, inputs and artifacts


def keeps(name: str, command: str) -> None:
    """Register a command that must not replace anything."""

    def prepare(folder: Path) -> str:
        (folder / "mine.txt").write_text("mine")
        for suffix in ("npz", "html", "gif", "png", "csv", "onnx"):
            (folder / f"mine.{suffix}").write_text("mine")
        return command

    prepare.__name__ = name
    case(1, mentions="exists; replace it|is an input|is a file of the input|belongs to the artifact")(prepare)


keeps("export_over_a_file", "export processed/ntu60.zarr --out mine.npz")
keeps("view_over_a_page", "view processed/ntu60.zarr --html mine.html")
keeps("view_over_an_animation", "view processed/ntu60.zarr --gif mine.gif")
keeps("view_over_a_picture", "view processed/ntu60.zarr --png mine.png")
keeps("embed_over_a_file", "embed runs/tiny --store processed/ntu60.zarr --out mine.npz")
keeps("predict_over_a_file", "predict runs/tiny raw --out mine.csv")
keeps("report_over_a_file", "report runs/tiny --out mine.html")
keeps("onnx_over_a_file", "export runs/tiny --out mine.onnx")
keeps("report_over_zarr_json", "report processed/ntu60.zarr --out processed/ntu60.zarr/zarr.json --force")
keeps("report_over_run_json", "report runs/tiny --out runs/tiny/run.json --force")
keeps("report_into_a_store", "report processed/ntu60.zarr --out processed/ntu60.zarr/new.html --force")
keeps("embed_over_its_input", "embed runs/tiny --input clips.npz --out clips.npz --force")
keeps("export_into_itself", "export processed/ntu60.zarr --out processed/ntu60.zarr/c/0.npz --force")
keeps("view_over_a_checkpoint", "view processed/ntu60.zarr --png runs/tiny/checkpoints/x.png --force")


@case(1, mentions="is an input")
def predict_over_its_input(folder: Path) -> list[str]:
    name = next((folder / "raw").glob("*.skeleton")).relative_to(folder).as_posix()
    return ["predict", "runs/tiny", name, "--out", name, "--force"]


@case(1, mentions="is an input")
def predict_over_its_input_by_a_link(folder: Path) -> list[str]:
    name = next((folder / "raw").glob("*.skeleton"))
    (folder / "link.csv").symlink_to(name)
    return ["predict", "runs/tiny", name.relative_to(folder).as_posix(), "--out", "link.csv", "--force"]


# Damaged runs


@case(1, 2, 4, mentions="finite|nan|inf")
def weights_that_are_not_finite(folder: Path) -> str:
    path = sorted((folder / "runs/tiny/checkpoints").rglob("model.safetensors"))[-1]
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    tensors = {name: entry for name, entry in json.loads(data[8 : 8 + header]).items() if name != "__metadata__"}
    for entry in tensors.values():
        if entry["dtype"] == "F32":
            first, last = (8 + header + offset for offset in entry["data_offsets"])
            data[first:last] = np.full((last - first) // 4, np.nan, "<f4").tobytes()
    path.write_bytes(bytes(data))
    refresh_manifest(path.parent)
    return "embed runs/tiny --store processed/ntu60.zarr --out features.npz"


def refresh_manifest(folder: Path) -> None:
    """Write the checksums of a changed folder again, as a stranger could."""
    manifest.write_manifest(folder, schemas.CHECKPOINT)


@case(0, 1, changes=True, mentions="leftover|not a run|force|killed|unfinished|without run.json")
def leftovers_of_a_killed_training(folder: Path) -> str:
    (folder / "runs/left/checkpoints/.step-3.partial").mkdir(parents=True)
    return TINY.replace("runs/tiny", "runs/left")


@case(0, changes=True)
def leftovers_replaced_by_force(folder: Path) -> str:
    (folder / "runs/left/checkpoints/.step-3.partial").mkdir(parents=True)
    return TINY.replace("runs/tiny", "runs/left") + " --force"


@case(0, changes=True)
def a_desktop_file_in_a_store(folder: Path) -> str:
    (folder / "processed/ntu60.zarr/.DS_Store").write_bytes(b"x")
    return "verify processed/ntu60.zarr"


@case(0)
def a_bad_line_in_the_log(folder: Path) -> str:
    path = folder / "runs/tiny/log.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{broken", *lines[1:]]) + "\n")
    return "report runs/tiny --out page.html"


def remove_run(folder: Path) -> None:
    """Remove the run's folder as soon as its log has three lines."""
    log = folder / "runs/gone/log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        time.sleep(0.01)
    shutil.rmtree(folder / "runs/gone")


@case(1, 2, 5, mentions="runs/gone", meanwhile=remove_run, changes=True)
def a_run_folder_removed_during_training(folder: Path) -> str:
    return TINY.replace("runs/tiny", "runs/gone").replace("epochs=2", "epochs=3000")


@case(5, mentions="is a link")
def results_that_are_a_link_elsewhere(folder: Path) -> str:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/.thesis.partial").write_text("mine")
    (folder / "elsewhere/.old.partial").mkdir()
    (folder / "elsewhere/.old.partial/data").write_text("mine")
    shutil.rmtree(folder / "runs/tiny/eval")
    (folder / "runs/tiny/eval").symlink_to("../../elsewhere")
    return "eval runs/tiny --protocol knn"


@case(0, 1)
def an_evaluation_with_other_settings(folder: Path) -> str:
    return "eval runs/tiny --k 3 --no-baselines --set linear.epochs=2"
