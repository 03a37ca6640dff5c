"""All that is to be known of a machine, for `doctor`: each part is looked at apart, and none is imported here."""

from trainer.doctor import findings, terminal
from trainer.doctor.findings import Finding

PROBES = (
    "trainer.doctor.packages",
    "trainer.doctor.processor",
    "trainer.doctor.disks",
    "trainer.doctor.numba_probe",
    "trainer.doctor.torch_probe",
)
"""The modules that each look at a part of the machine, in the order in which it is told."""


def examine() -> list[Finding]:
    """What this machine offers, and what will not work on it and why; each part in a process of its own."""
    return [*findings.examine(PROBES), *terminal.examine()]
