"""Write a synthetic data set, chosen by name (`skelepipe synth`)."""

from pathlib import Path

from pipeline.files.text_paths import accept_text_paths
from pipeline.synth.folder import write_folder
from pipeline.synth.ntu import write_ntu
from pipeline.synth.pku import FOLDERS, write_pku
from pipeline.synth.summary import SynthSummary
from pipeline.synth.tools import TOOLS, write_tool


@accept_text_paths
def write(dataset: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a synthetic data set, or files of a tool, into a new folder, which appears whole or not at all.

    Raises:
        ConfigError: a number is out of range.
        OutputExists: `out` exists and is not empty.
        OutputFailed: the disk refuses.
    """
    if dataset == "folder":
        return write_folder(out, clips=clips, seed=seed, broken=broken)
    if dataset in TOOLS:
        return write_tool(dataset, out, clips=clips, seed=seed, broken=broken)
    if dataset in FOLDERS:
        return write_pku(dataset, out, clips=clips, seed=seed, broken=broken)
    return write_ntu(dataset, out, clips=clips, seed=seed, broken=broken, realistic=True)
