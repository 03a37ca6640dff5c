"""Compute features of clips with an exported encoder, using only onnxruntime and numpy.

Run: python docs/examples/onnx_features.py MODEL.onnx CLIPS.npz FEATURES.npz

CLIPS.npz has `data` (N, 3, T, V, M) in metres and optionally `lengths` (N,), as written by `skelepipe export STORE
--format npz`. With `lengths`, each clip is cut to its length and resized as in training; FEATURES.npz then has the same
`features` as `skelepipe embed --store STORE`. Without, clips are used as they are, as by `embed --input`. A model with
a classifier also gives `scores`, and the most likely class of each clip is printed.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

BATCH = 32
"""Clips per batch; any number gives the same features."""


def resized(clip: np.ndarray, frames: int) -> np.ndarray:
    """Resize a clip (3, T, V, M), NaN where missing, to this many frames, as in training; missing joints become 0."""
    T = clip.shape[1]
    if frames == T:
        return np.nan_to_num(clip)
    place = np.clip((np.arange(frames) + 0.5) * (T / frames) - 0.5, 0, T - 1)
    below, above = np.floor(place).astype(int), np.ceil(place).astype(int)
    weight = (place - below).astype(np.float32)[:, None, None]
    return np.nan_to_num(clip[:, below] * (1 - weight) + clip[:, above] * weight)


def as_trained(data: np.ndarray, lengths: np.ndarray, frames: int) -> np.ndarray:
    """Resize padded clips (N, 3, T, V, M) as in training: (N, 3, frames, V, M).

    A body whose joints are all 0 in a frame is missing there. A single joint at 0 may be missing or at the origin; it
    is treated as the latter.
    """
    missing = (data == 0).all(axis=(1, 3), keepdims=True)
    shown = np.where(missing, np.float32(np.nan), data)
    return np.stack([resized(clip[:, :length], frames) for clip, length in zip(shown, lengths, strict=True)])


def main(model: Path, clips: Path, output: Path) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta()
    print(said.description)
    with np.load(clips, allow_pickle=False) as arrays:  # noqa: TID251 (allow_pickle=False)
        data = arrays["data"].astype(np.float32)
        if "lengths" in arrays:
            data = as_trained(data, arrays["lengths"], int(said.custom_metadata_map["frames"]))
    names = [made.name for made in session.get_outputs()]
    parts = [session.run(None, {"clips": data[start : start + BATCH]}) for start in range(0, len(data), BATCH)]
    found = {name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)}
    np.savez(output, **found)
    if "scores" in found:
        classes = json.loads(said.custom_metadata_map["classes"])
        for row, column in enumerate(found["scores"].argmax(axis=1)):
            print(row, classes[column]["id"], classes[column]["name"])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
