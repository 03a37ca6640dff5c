"""All that is to be known of a machine, for `doctor`: each part is looked at apart, and none is imported here."""

from pipeline import doctor, terminal
from pipeline.doctor import Finding

EXAMINED = ("pipeline.packages", "pipeline.processor", "pipeline.disks", "pipeline.compiled", "trainer.doctor")
"""The modules that each look at a part of the machine, in the order in which it is told."""


def examine() -> list[Finding]:
    """What this machine offers, and what will not work on it and why; each part in a process of its own."""
    return [*doctor.examine(EXAMINED), *terminal.examine()]
