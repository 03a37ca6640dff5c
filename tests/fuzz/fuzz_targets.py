"""All fuzz targets by name."""

from tests.fuzz import fuzz_artifacts, fuzz_folders, fuzz_packed, fuzz_settings, fuzz_texts

TARGETS = (
    *fuzz_texts.TARGETS,
    *fuzz_settings.TARGETS,
    *fuzz_folders.TARGETS,
    *fuzz_packed.TARGETS,
    *fuzz_artifacts.TARGETS,
)
"""Their names are unique."""
BY_NAME = {target.name: target for target in TARGETS}
