"""Examine the machine for `skelepipe doctor`: run every probe in its own process and collect the findings."""

from trainer.doctor import findings
from trainer.doctor.findings import Finding

PROBES = (
    "trainer.doctor.packages",
    "trainer.doctor.processor",
    "trainer.doctor.disks",
    "trainer.doctor.numba_probe",
    "trainer.doctor.torch_probe",
)
"""The probe modules, in the order in which their findings are shown. None of them is imported here."""


def examine() -> list[Finding]:
    """Return what works on this machine, what does not, and why."""
    return findings.run_probes(PROBES)
