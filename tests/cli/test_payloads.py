"""Files that would run code if they were unpickled, each through the command that would read it: none ever does."""

import _pickle
import builtins
import contextlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save as save_tensors

from cli import main
from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.validation import DocumentSpec
from pipeline.store.store import Store
from pipeline.synth.synth import write
from tests.support import released_checkpoints
from trainer.runs.run import Run


class Trap:
    """Calls a function when a pickle of it is loaded."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def traps(mark: Path) -> list[Trap]:
    """Ways in which a pickle would leave a mark."""
    code = f"open({str(mark)!r}, 'w').close()"
    return [Trap(os.system, f"touch {mark}"), Trap(eval, code), Trap(exec, code), Trap(open, str(mark), "w")]


def payloads(mark: Path) -> dict[str, bytes]:
    """Bytes that leave a mark when they are unpickled."""
    system, by_eval, by_exec, opened = traps(mark)
    return {
        "os.system, by hand": f"cos\nsystem\n(S'touch {mark}'\ntR.".encode(),
        "posix.system": pickle.dumps(system, 2),
        "builtins.eval": pickle.dumps(by_eval, 4),
        "builtins.exec, nested": pickle.dumps({"state_dict": {"weight": [by_exec]}}, 5),
        "open": pickle.dumps(opened, 0),
    }


@dataclass
class Lab:
    """A place with a store, its splits, a trained run with a classifier, and a folder data set; all may be damaged."""

    folder: Path
    payload: bytes

    @property
    def mark(self) -> Path:
        return self.folder / "it-ran"

    @property
    def traps(self) -> list[Trap]:
        return traps(self.mark)

    def at(self, place: str) -> Path:
        """A path in the lab; `*` stands for what there is one of."""
        if "*" not in place:
            return self.folder / place
        (path,) = self.folder.glob(place)
        return path

    def put(self, place: str, content: bytes | None = None) -> Path:
        path = self.at(place)
        path.write_bytes(self.payload if content is None else content)
        return path

    def objects(self) -> np.ndarray:
        """An array that can only be written, and read, as a pickle."""
        array = np.empty(len(self.traps), object)
        array[:] = self.traps
        return array

    def run(self, words: str) -> Result:
        with contextlib.chdir(self.folder):
            return CliRunner().invoke(main, words.split())


@pytest.fixture(scope="module")
def kept(shared_store: Store, shared_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared store and run with a classifier, and a small folder data set; read-only by agreement."""
    folder = tmp_path_factory.mktemp("payloads")
    shutil.copytree(shared_store.path.parent, folder / "processed")
    shutil.copytree(shared_run.path, folder / "runs" / "r", ignore=shutil.ignore_patterns("eval"))
    write("folder", folder / "own", clips=16, seed=0, broken=0)
    write("ntu60", folder / "raw", clips=2, seed=4, broken=0)
    lab = Lab(folder, b"")
    for words in (
        "build-splits processed/ntu60.zarr --split xsub --label-fraction 0.5",
        "eval runs/r --protocol linear --set linear.epochs=1 --no-baselines --batch-norm trained",
        "ingest ntu60 raw --out jobs/s.zarr --partition 1/1 --workers 1",
    ):
        done = lab.run(words)
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def lab(kept: Path, tmp_path: Path) -> Lab:
    shutil.copytree(kept, tmp_path / "lab")
    return Lab(tmp_path / "lab", b"")


def seal(folder: Path, form: DocumentSpec) -> None:
    """Seal a folder again over what was put there."""
    facts = json.loads((folder / manifest.MANIFEST).read_bytes())
    for own in ("kind", "format_version", "digest", "files"):
        facts.pop(own, None)
    manifest.write_manifest(folder, form, **facts)


def torch_file(wrap: Callable[[list[Trap]], Any], *, zipped: bool) -> Callable[[Lab], Path]:
    def plant(lab: Lab) -> Path:
        torch.save(wrap(lab.traps), lab.at("x.pt"), _use_new_zipfile_serialization=zipped)
        return lab.at("x.pt")

    return plant


def among_weights(held: list[Trap]) -> dict[str, Any]:
    return {**released_checkpoints.Checkpoint("skelemixclr").state, "x": held}


def rezipped(lab: Lab, change: Callable[[str, bytes], Iterable[tuple[str, bytes]]]) -> Path:
    """A zip as PyTorch writes, with members changed."""
    buffer = io.BytesIO()
    torch.save({"x": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(lab.at("x.pt"), "w") as made:
        for name in whole.namelist():
            for inner, content in change(name, whole.read(name)):
                made.writestr(inner, content)
    return lab.at("x.pt")


def data_of_zip(lab: Lab) -> Path:
    return rezipped(lab, lambda name, content: [(name, lab.payload if name.endswith("data.pkl") else content)])


def torch_script(lab: Lab) -> Path:
    """What torch.load hands on to torch.jit.load."""
    made = {"constants.pkl": lab.payload, "code/__torch__.py": b"import os\n"}

    def change(name: str, content: bytes) -> Iterable[tuple[str, bytes]]:
        yield name, lab.payload if name.endswith("data.pkl") else content
        if name.endswith("data.pkl"):
            yield from ((name.replace("data.pkl", inner), there) for inner, there in made.items())

    return rezipped(lab, change)


def tar(lab: Lab) -> Path:
    """What PyTorch wrote before 0.1.10."""
    with tarfile.open(lab.at("x.pt"), "w") as made:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            about = tarfile.TarInfo(name)
            about.size = len(lab.payload)
            made.addfile(about, io.BytesIO(lab.payload))
    return lab.at("x.pt")


def head_of_legacy(lab: Lab) -> Path:
    """The payload in the place of what a file of the old format says of the system that wrote it."""
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    return lab.put("x.pt", magic + version + lab.payload)


def raw(place: str) -> Callable[[Lab], Path]:
    return lambda lab: lab.put(place)


def text(place: str, content: str) -> Callable[[Lab], Path]:
    """A text that would leave the mark if it were evaluated; MARK stands for it."""
    return lambda lab: lab.put(place, content.replace("MARK", str(lab.mark)).encode())


def changed(place: str, change: Callable[[str], str]) -> Callable[[Lab], Path]:
    """A text of the lab with something else in it."""
    return lambda lab: lab.put(place, change(lab.at(place).read_text()).replace("MARK", str(lab.mark)).encode())


def array(place: str) -> Callable[[Lab], Path]:
    def plant(lab: Lab) -> Path:
        np.save(lab.at(place), lab.objects(), allow_pickle=True)
        return lab.at(place)

    return plant


def arrays(place: str, **plain: np.ndarray | None) -> Callable[[Lab], Path]:
    """An .npz; None stands for an array of objects."""

    def plant(lab: Lab) -> Path:
        held = {name: lab.objects() if values is None else values for name, values in plain.items()}
        np.savez(lab.at(place), **held)
        return lab.at(place)

    return plant


def object_header(place: str) -> Callable[[Lab], Path]:
    """An .npy that says to hold objects, with the payload behind."""

    def plant(lab: Lab) -> Path:
        made = io.BytesIO()
        np.lib.format.write_array_header_1_0(made, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        return lab.put(place, made.getvalue() + lab.payload)

    return plant


def member(place: str, name: str) -> Callable[[Lab], Path]:
    """A zip with the payload as a member."""

    def plant(lab: Lab) -> Path:
        with zipfile.ZipFile(lab.at(place), "w") as made:
            made.writestr(name, lab.payload)
        return lab.at(place)

    return plant


def hdf5(place: str, fill: Callable[[Lab, h5py.File], object]) -> Callable[[Lab], Path]:
    def plant(lab: Lab) -> Path:
        with h5py.File(lab.at(place), "w") as file:
            fill(lab, file)
        return lab.at(place)

    return plant


def opaque(lab: Lab, file: h5py.File) -> None:
    """Bytes without a meaning, tagged as numpy's objects, and as attributes, too."""
    width = len(lab.payload)
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, width)
    kind.set_tag(b"NUMPY:|O8")
    made = h5py.h5d.create(file.id, b"xyz", kind, h5py.h5s.create_simple((1,)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.frombuffer(lab.payload, np.dtype(f"V{width}")), kind)
    file.attrs["pickle"] = np.void(lab.payload)


def texts(lab: Lab, file: h5py.File) -> None:
    """Objects as h5py has them: bytes of any length."""
    held = file.create_dataset("xyz", (1,), h5py.vlen_dtype(np.uint8))
    held[0] = np.frombuffer(lab.payload, np.uint8)


def resealed(place: str, form: DocumentSpec, content: Callable[[Lab], bytes] | None = None) -> Callable[[Lab], Path]:
    """The payload in the place of a file of a sealed folder, which is sealed again over it."""

    def plant(lab: Lab) -> Path:
        path = lab.put(place, None if content is None else content(lab))
        folder = next(parent for parent in path.parents if (parent / manifest.MANIFEST).exists())
        seal(folder, form)
        return path

    return plant


def as_torch_saves(lab: Lab) -> bytes:
    buffer = io.BytesIO()
    torch.save(lab.traps, buffer)
    return buffer.getvalue()


def with_metadata(lab: Lab) -> bytes:
    """Real tensors with the payload beside; they are no encoder's."""
    return save_tensors({"x": torch.ones(2)}, {"pickle": lab.payload.decode("latin-1")})


def codec(lab: Lab) -> bytes:
    """The group's metadata, with those of an array that has it unpickled."""
    about = json.loads(lab.at("processed/ntu60.zarr/zarr.json").read_bytes())
    array = about["consolidated_metadata"]["metadata"]["label"]
    array["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}, {"name": "bytes"}]
    return json.dumps(about).encode()


def older_zarr(lab: Lab) -> Path:
    """An array of Zarr's format 2, whose objects are unpickled."""
    array = lab.at("processed/ntu60.zarr/label")
    shutil.rmtree(array)
    array.mkdir()
    about = {"zarr_format": 2, "shape": [72], "chunks": [72], "dtype": "|O", "compressor": None, "order": "C"}
    about |= {"fill_value": None, "filters": [{"id": "pickle", "protocol": 5}]}
    (array / ".zarray").write_text(json.dumps(about))
    (array / "0").write_bytes(lab.payload)
    seal(lab.at("processed/ntu60.zarr"), schemas.STORE)
    return lab.at("processed/ntu60.zarr")


CLIPS = np.zeros((2, 3, 16, 25, 2), np.float32)
IMPORT = "import-weights x.pt --source skelemixclr --out runs/x"
FOLDER = "ingest folder own --out s.zarr --recipe none --workers 1 --json"
NTU = "ingest ntu60 raw --out s.zarr --recipe none --workers 1 --json"
EMBED = "embed runs/r --input x.npz --out f.npz"
FEATURES = "embed runs/r --store processed/ntu60.zarr --out f.npz"
SPLIT = "processed/splits/ntu60/xsub.json"
STEP = "runs/r/checkpoints/step-*6"
CLASSIFIER = "runs/r/eval/linear-[0-9a-f]*.classifier"
PREDICT = "predict runs/r raw new --json"
CODE = "__import__('os').system('touch MARK')"
JSONPICKLE = '{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["touch MARK"]}]}'
YAML = '!!python/object/apply:os.system ["touch MARK"]'
RUN, CHECKPOINT, LEARNED = schemas.RUN, schemas.CHECKPOINT, schemas.CLASSIFIER

REFUSED: dict[str, tuple[Callable[[Lab], Path], str, int]] = {
    "pt: a pickle": (raw("x.pt"), IMPORT, 1),
    "pt: whole": (torch_file(list, zipped=True), IMPORT, 1),
    "pt: whole, legacy": (torch_file(list, zipped=False), IMPORT, 1),
    "pt: in the state_dict": (torch_file(lambda held: {"state_dict": {"x": held}}, zipped=True), IMPORT, 1),
    "pt: in the state_dict, legacy": (torch_file(lambda held: {"state_dict": {"x": held}}, zipped=False), IMPORT, 1),
    "pt: beside the model": (torch_file(lambda held: {"model": {}, "epoch": held}, zipped=True), IMPORT, 1),
    "pt: among weights": (torch_file(among_weights, zipped=True), IMPORT, 1),
    "pt: among weights, legacy": (torch_file(among_weights, zipped=False), IMPORT, 1),
    "pt: as a key": (torch_file(lambda held: {held[1]: torch.ones(1)}, zipped=True), IMPORT, 1),
    "pt: as the data of a zip": (data_of_zip, IMPORT, 1),
    "pt: as TorchScript": (torch_script, IMPORT, 1),
    "pt: as a tar": (tar, IMPORT, 1),
    "pt: in the head, legacy": (head_of_legacy, IMPORT, 1),
    "clip: npy of objects": (array("own/clips/clip_0001.npy"), FOLDER, 3),
    "clip: npy that is a pickle": (raw("own/clips/clip_0001.npy"), FOLDER, 3),
    "clip: npy that says objects": (object_header("own/clips/clip_0001.npy"), FOLDER, 3),
    "clip: npz of objects": (arrays("own/clips/clip_0013.npz", xyz=None), FOLDER, 3),
    "clip: npz that is a pickle": (raw("own/clips/clip_0013.npz"), FOLDER, 3),
    "clip: npz with a pickle for array": (member("own/clips/clip_0013.npz", "xyz.npy"), FOLDER, 3),
    "clip: npz with a pickle beside no array": (member("own/clips/clip_0013.npz", "xyz"), FOLDER, 3),
    "clip: h5 of opaque values": (hdf5("own/clips/long_0001.h5", opaque), FOLDER, 3),
    "clip: h5 of objects": (hdf5("own/clips/long_0001.h5", texts), FOLDER, 3),
    "clip: h5 that is a pickle": (raw("own/clips/long_0001.h5"), FOLDER, 3),
    "clip: csv that is a pickle": (raw("own/clips/clip_0009.csv"), FOLDER, 3),
    "clip: csv of code": (text("own/clips/clip_0009.csv", f"{CODE}\n"), FOLDER, 3),
    "clip: skeleton that is a pickle": (raw("raw/S*A001.skeleton"), NTU, 3),
    "clip: zip of a pickle": (member("raw/x.zip", "S009C001P001R001A001.skeleton"), NTU, 3),
    "skeleton.toml that is a pickle": (raw("own/skeleton.toml"), FOLDER, 2),
    "skeleton.toml of code": (text("own/skeleton.toml", f'name = "{CODE}"\n'), FOLDER, 2),
    "manifest.csv that is a pickle": (raw("own/manifest.csv"), FOLDER, 2),
    "manifest.csv with code for a label": (
        changed("own/manifest.csv", lambda there: there.replace(",0,", f',"{CODE}",', 1)),
        FOLDER,
        3,
    ),
    "array: npz of objects": (arrays("x.npz", data=None), EMBED, 1),
    "array: npz with labels of objects": (arrays("x.npz", data=CLIPS, labels=None), EMBED, 1),
    "array: npz with names of objects": (arrays("x.npz", data=CLIPS, names=None), EMBED, 1),
    "array: npz that is a pickle": (raw("x.npz"), EMBED, 1),
    "array: npz with a pickle for array": (member("x.npz", "data.npy"), EMBED, 1),
    "array: npy of objects": (array("x.npy"), EMBED.replace("x.npz", "x.npy"), 1),
    "array: npy that says objects": (object_header("x.npy"), EMBED.replace("x.npz", "x.npy"), 1),
    "split: a pickle, pretrain": (raw(SPLIT), "pretrain processed/ntu60.zarr --split xsub --preset quick", 1),
    "split: a pickle, eval": (raw(SPLIT), "eval runs/r", 1),
    "split: a pickle, embed": (raw(SPLIT), f"{FEATURES} --split xsub", 1),
    "split: a pickle, export": (raw(SPLIT), "export processed/ntu60.zarr --format ctrgcn --split xsub --out x", 1),
    "split: JSON that some unpickle": (text(SPLIT, JSONPICKLE), "eval runs/r", 1),
    "split: rows that some unpickle": (
        lambda lab: lab.put(
            SPLIT,
            manifest.encode_document(
                schemas.SPLIT,
                json.loads(lab.at(SPLIT).read_bytes())
                | {"digest": 0, "train": json.loads(JSONPICKLE.replace("MARK", str(lab.mark)))},
            ),
        ),
        "eval runs/r",
        1,
    ),
    "subset: a pickle": (
        raw("processed/splits/ntu60/xsub.train-*.json"),
        "eval runs/r --protocol semi --label-fraction 0.5",
        1,
    ),
    "split file that is a pickle": (raw("lists.txt"), "build-splits processed/ntu60.zarr --split-file lists.txt", 2),
    "weights: a pickle": (resealed(f"{STEP}/model.safetensors", CHECKPOINT), FEATURES, 1),
    "weights: a pickle, eval": (resealed(f"{STEP}/model.safetensors", CHECKPOINT), "eval runs/r", 1),
    "weights: a .pt": (resealed(f"{STEP}/model.safetensors", CHECKPOINT, as_torch_saves), FEATURES, 1),
    "weights: with a pickle beside": (resealed(f"{STEP}/model.safetensors", CHECKPOINT, with_metadata), FEATURES, 1),
    "weights: their meta.json": (resealed(f"{STEP}/meta.json", CHECKPOINT), FEATURES, 1),
    "weights: their manifest": (raw(f"{STEP}/MANIFEST.json"), FEATURES, 1),
    "run.json": (raw("runs/r/run.json"), FEATURES, 1),
    "classifier": (resealed(f"{CLASSIFIER}/classifier.safetensors", LEARNED), "predict runs/r raw", 1),
    "classifier: its meta.json": (resealed(f"{CLASSIFIER}/meta.json", LEARNED), "predict runs/r raw", 1),
    "config: a pickle": (raw("x.toml"), "pretrain processed/ntu60.zarr --config x.toml", 2),
    "config: YAML": (text("x.toml", YAML), "pretrain processed/ntu60.zarr --config x.toml", 2),
    "config: code for a number": (
        text("x.toml", f'epochs = "{CODE}"'),
        "pretrain processed/ntu60.zarr --config x.toml",
        2,
    ),
    "recipe: a pickle": (raw("x.toml"), NTU.replace("none", "./x.toml"), 1),
    "recipe: a step of code": (
        text("x.toml", f'name = "x"\n[[steps]]\nstep = "{CODE}"\n'),
        NTU.replace("none", "./x.toml"),
        1,
    ),
    "store: its quarantine": (resealed("processed/ntu60.zarr/quarantine.json", schemas.STORE), FEATURES, 1),
    "store: a codec that unpickles": (
        resealed("processed/ntu60.zarr/zarr.json", schemas.STORE, codec),
        FEATURES,
        1,
    ),
    "store: an array of Zarr 2 that is unpickled": (older_zarr, FEATURES, 1),
    "store: its manifest": (raw("processed/ntu60.zarr/MANIFEST.json"), FEATURES, 1),
    "work of a job: objects": (
        arrays("jobs/.s.zarr.work/*/part-00000.npz", note=None, columns=None, xyz=None),
        "finalise jobs/s.zarr",
        1,
    ),
    "work of a job: a pickle": (raw("jobs/.s.zarr.work/*/part-00000.npz"), "finalise jobs/s.zarr", 1),
    "work of a job: its plan": (raw("jobs/.s.zarr.work/plan.json"), "finalise jobs/s.zarr", 1),
    "new recording: npy of objects": (array("new/x.npy"), PREDICT, 3),
    "new recording: npz of objects": (arrays("new/x.npz", xyz=None), PREDICT, 3),
    "new recording: h5 of opaque values": (hdf5("new/x.h5", opaque), PREDICT, 3),
    "new recording: skeleton that is a pickle": (raw("new/x.skeleton"), PREDICT, 3),
    "new recording: zip of npy that says objects": (member("new/x.zip", "x.npy"), PREDICT, 3),
}
"""How a payload is laid down, the command that would read it, and its exit code."""
IN_ARCHIVES = ("S009C001P001R001A001.skeleton", "x.npy")
"""What a quarantine calls a member that can be unpacked and not be read."""


def test_the_payloads_are_armed(tmp_path: Path) -> None:
    """Unpickled, each of them leaves its mark, so that a mark that is not there says something."""
    mark = tmp_path / "it-ran"
    for name, payload in payloads(mark).items():
        found = pickle.loads(payload)
        assert mark.exists(), name
        mark.unlink()
        if hasattr(found, "close"):
            found.close()
    np.save(tmp_path / "x.npy", Lab(tmp_path, b"").objects(), allow_pickle=True)
    for found in np.load(tmp_path / "x.npy", allow_pickle=True):
        if hasattr(found, "close"):
            found.close()
    assert mark.exists()
    mark.unlink()
    torch.save(traps(mark), tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)[-1].close()
    assert mark.exists()


@pytest.mark.parametrize("case", REFUSED)
def test_no_payload_runs_and_one_line_names_its_file(case: str, lab: Lab) -> None:
    plant, words, code = REFUSED[case]
    kinds = payloads(lab.mark)
    lab.payload = list(kinds.values())[list(REFUSED).index(case) % len(kinds)]
    (lab.folder / "new").mkdir()
    path = plant(lab)
    done = lab.run(words)
    assert not lab.mark.exists(), f"{case}: it ran"
    assert done.exit_code == code, done.output
    if code == 3:
        report = json.loads(done.output[done.output.index("{") :])
        (told,) = {f"{bad['file']}: {bad['reason']}" for bad in report.get("quarantined", report.get("refused"))}
    else:
        (told,) = (line for line in done.output.splitlines() if line.startswith("Error: "))
    assert told.isprintable()
    names = {path.name, *IN_ARCHIVES}
    if {lab.at(place) for place in ("runs", "processed", "jobs")} & {*path.parents}:
        names |= {parent.name for parent in path.parents[:2]}  # of what is several files together its folder will do
    assert any(name in told for name in names), told
    assert not (lab.folder / "f.npz").exists()


@pytest.mark.parametrize("payload", payloads(Path()))
@pytest.mark.parametrize(("place", "words"), [("x.pt", IMPORT), ("x.npz", EMBED)])
def test_no_kind_of_payload_runs(payload: str, place: str, words: str, lab: Lab) -> None:
    lab.put(place, payloads(lab.mark)[payload])
    assert lab.run(words).exit_code == 1
    assert not lab.mark.exists()


def test_attributes_beside_good_numbers_are_left_where_they_are(lab: Lab) -> None:
    with h5py.File(lab.at("own/clips/long_0001.h5"), "a") as file:
        for holder in (file, file["xyz"]):
            holder.attrs["pickle"] = np.void(payloads(lab.mark)["posix.system"])
            holder.attrs["code"] = CODE.replace("MARK", str(lab.mark))
    assert lab.run(FOLDER).exit_code == 0
    assert not lab.mark.exists()


def test_a_note_of_what_was_written_last_that_is_a_pickle_is_passed_over(lab: Lab) -> None:
    lab.put("processed/LATEST.json", payloads(lab.mark)["open"])
    done = lab.run("inspect")
    assert (done.exit_code, "72 clips" in done.output) == (0, True), done.output
    assert not lab.mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_imported_without_any_unpickler_of_pythons(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = released_checkpoints.Checkpoint("skelemixclr")
    checkpoint.save(tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    with monkeypatch.context() as patched:
        for module in (pickle, _pickle):
            for name in ("load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"):
                patched.setattr(module, name, refuse, raising=hasattr(module, name))
        for name in ("eval", "exec"):
            patched.setattr(builtins, name, refuse)
        words = ["import-weights", tmp_path / "x.pt", "--source", "skelemixclr", "--out", tmp_path / "run"]
        done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, (done.output, done.exception)
    assert ": imported, " in done.output
