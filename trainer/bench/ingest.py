"""Benchmark of ingest for `skelepipe bench ingest`, compared with the reader of ST-GCN and its successors."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.ntu.parser import parse
from pipeline.sources.text_buffer import TextReader
from pipeline.synth.ntu import write_ntu
from trainer.bench.timing import Progress, Row, Variant, time_interleaved

CLIPS, SMALL_CLIPS = 480, 24
REFERENCE_FILES = 8
"""Files that the reference reader reads; it takes thirty times as long."""


def bench_ingest(rounds: int, progress: Progress, *, small: bool = False) -> list[Row]:
    """Measure reading, parsing and complete ingests of synthetic NTU-60 recordings, in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("writing synthetic recordings")
        write_ntu("ntu60", folder / "raw", clips=SMALL_CLIPS if small else CLIPS, seed=0)
        paths = sorted((folder / "raw").rglob("*.skeleton"))
        reader = TextReader()

        def read_and_parse() -> None:
            for path in paths:
                size, _ = reader.read_file(path)
                parse(reader.text, size, source=str(path), name=path.stem)

        def ingest_all(workers: int) -> float:
            output = folder / "store" / "ntu60.zarr"
            request = IngestRequest(
                dataset="ntu60", roots=(folder / "raw",), output=output, recipe=load_recipe("clean"), workers=workers
            )
            seconds = ingest(request).seconds
            shutil.rmtree(output.parent)
            return seconds

        sample = paths[:: max(1, len(paths) // REFERENCE_FILES)][:REFERENCE_FILES]
        size, sample_size = _megabytes(paths), _megabytes(sample)
        variants = [
            Variant(
                "reference code: read and save",
                f"{sample_size:.1f} MB",
                "MB/s",
                sample_size,
                lambda: _convert_with_reference_reader(sample, folder / "reference.npz"),
            ),
            Variant("read and parsed", f"{size:.0f} MB", "MB/s", size, read_and_parse),
            Variant("ingest, clean, 1 process", f"{size:.0f} MB", "MB/s", size, lambda: ingest_all(1)),
            Variant("ingest, clean, 2 processes", f"{size:.0f} MB", "MB/s", size, lambda: ingest_all(2)),
        ]
        return time_interleaved(variants, rounds, progress)


def _megabytes(paths: list[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


def _convert_with_reference_reader(paths: list[Path], output: Path) -> None:
    with output.open("wb") as handle:
        np.savez(handle, *(read_with_reference_reader(path).astype(np.float32) for path in paths))


def read_with_reference_reader(path: Path) -> NDArray[np.float64]:
    """Read the first two bodies of each frame, (3, T, V, 2): line by line into dictionaries, then into an array.

    This is what ST-GCN, 2s-AGCN, CrosSCLR and AimCLR do, rewritten. It does not check the file.
    """
    body_keys = ["bodyID", "clipedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence"]
    body_keys += ["handRightState", "isResticted", "leanX", "leanY", "trackingState"]
    joint_keys = ["x", "y", "z", "depthX", "depthY", "colorX", "colorY"]
    joint_keys += ["orientationW", "orientationX", "orientationY", "orientationZ", "trackingState"]
    with path.open() as handle:
        sequence: dict[str, Any] = {"numFrame": int(handle.readline()), "frameInfo": []}
        for _ in range(sequence["numFrame"]):
            frame: dict[str, Any] = {"numBody": int(handle.readline()), "bodyInfo": []}
            for _ in range(frame["numBody"]):
                fields = handle.readline().split()
                body: dict[str, Any] = {key: float(field) for key, field in zip(body_keys, fields, strict=True)}
                body["numJoint"] = int(handle.readline())
                body["jointInfo"] = []
                for _ in range(body["numJoint"]):
                    fields = handle.readline().split()
                    joint = {key: float(field) for key, field in zip(joint_keys, fields, strict=True)}
                    body["jointInfo"].append(joint)
                frame["bodyInfo"].append(body)
            sequence["frameInfo"].append(frame)
    data = np.zeros((3, sequence["numFrame"], 25, 2))
    for n, frame in enumerate(sequence["frameInfo"]):
        for m, body in enumerate(frame["bodyInfo"][:2]):
            for v, joint in enumerate(body["jointInfo"]):
                data[:, n, v, m] = [joint["x"], joint["y"], joint["z"]]
    return data
