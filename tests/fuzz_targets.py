"""What the fuzzer is let loose on, by kinds of files; fuzz_judging.py says what a target is."""

import fuzz_artifacts
import fuzz_folders
import fuzz_packed
import fuzz_settings
import fuzz_texts

TARGETS = (
    *fuzz_texts.TARGETS,
    *fuzz_settings.TARGETS,
    *fuzz_folders.TARGETS,
    *fuzz_packed.TARGETS,
    *fuzz_artifacts.TARGETS,
)
"""By their names unique."""
BY_NAME = {target.name: target for target in TARGETS}
