"""Write a large store for benchmarks by repeating the clips of a small one, each slightly changed."""

from pathlib import Path

import numpy as np

from pipeline.store.columns import COLUMNS, TEXT_COLUMNS
from pipeline.store.store import Store
from pipeline.store.writer import StoreWriter


def repeat_store(small: Store, output: Path, clips: int) -> Store:
    """Write a store with `clips` clips, those of `small` in turn with new names, sorted by label; and open it."""
    source = np.sort(np.resize(np.arange(len(small)), clips))
    source = source[np.argsort(small.columns["label"][source], kind="stable")]
    lengths = np.diff(small.offset)[source]
    writer = StoreWriter(output, len(small.layout.joints), int(lengths.sum()))
    clips_of_small = list(small.clips())
    for number, row in enumerate(source):
        writer.append((clips_of_small[row] + np.float32(number * 1e-6)).reshape(-1, *clips_of_small[row].shape[2:]))
    names = [f"{small.names[row]}-{number:06d}" for number, row in enumerate(source)]
    writer.finish(
        texts=dict.fromkeys(TEXT_COLUMNS, names),
        extra={name: values[source].tolist() for name, values in small.extra.items()},
        columns={spec.name: small.columns[spec.name][source] for spec in COLUMNS},
        attributes={key: value for key, value in small.attributes.items() if key not in WRITER_ATTRIBUTES},
        quarantine=[],
    )
    return Store(output)


WRITER_ATTRIBUTES = {"kind", "format_version", "units", "extra"}
"""Attributes that the writer adds by itself."""
