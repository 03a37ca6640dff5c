"""A store of any size without ingesting as much: the clips of a small one again and again, each a little different."""

from pathlib import Path

import numpy as np

from pipeline.store.columns import COLUMNS, TEXT_COLUMNS
from pipeline.store.store import Store
from pipeline.store.writer import StoreWriter


def repeated(small: Store, output: Path, clips: int) -> Store:
    """Write `clips` clips, those of `small` in turn under names of their own, sorted by label; and open the store."""
    source = np.sort(np.resize(np.arange(len(small)), clips))
    source = source[np.argsort(small.columns["label"][source], kind="stable")]
    lengths = np.diff(small.offset)[source]
    writer = StoreWriter(output, len(small.layout.joints), int(lengths.sum()))
    held = list(small.clips())
    for number, row in enumerate(source):
        writer.append((held[row] + np.float32(number * 1e-6)).reshape(-1, *held[row].shape[2:]))
    names = [f"{small.names[row]}-{number:06d}" for number, row in enumerate(source)]
    writer.finish(
        texts=dict.fromkeys(TEXT_COLUMNS, names),
        extra={name: values[source].tolist() for name, values in small.extra.items()},
        columns={spec.name: small.columns[spec.name][source] for spec in COLUMNS},
        attributes={key: value for key, value in small.attributes.items() if key not in NOT_FACTS},
        quarantine=[],
    )
    return Store(output)


NOT_FACTS = {"kind", "format_version", "units", "extra"}
"""What the writer says of itself."""
