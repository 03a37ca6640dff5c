"""Probe of `skelepipe doctor`: versions of Python, of the required packages and of the optional extras."""

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from trainer.doctor.findings import Finding

EXTRAS = {
    "analysis": "only for t-SNE in report, and for .mat files in convert",
    "cluster": "only for ingest --dask",
    "onnx": "only for export --format onnx",
}
"""The extras for users, and what each is for."""


def examine() -> Iterator[Finding]:
    """Check Python, the required packages and the extras."""
    yield check_python()
    yield from check_packages("skelepipe")


def check_python() -> Finding:
    """Report versions and platform; compare Python's version with the one that skelepipe requires."""
    text = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {sys.prefix}"
    try:
        required = importlib.metadata.metadata("skelepipe")["Requires-Python"] or ""
    except PackageNotFoundError:
        return Finding("python", "problem", "skelepipe is not installed here", "pip install -e . in its folder")
    if platform.python_version() not in SpecifierSet(required, prereleases=True):
        text = f"{text}; skelepipe requires Python {required}"
        return Finding("python", "problem", text, "create an environment with that version")
    return Finding("python", "ok", f"skelepipe {importlib.metadata.version('skelepipe')}, {text}")


def check_packages(name: str) -> Iterator[Finding]:
    """Compare installed versions with the requirements of a package and of its extras."""
    installed = []
    for requirement in requirements(name):
        if fault := find_fault(requirement):
            yield Finding("packages", "problem", fault, f"pip install '{requirement.name}{requirement.specifier}'")
        else:
            installed.append(f"{requirement.name} {importlib.metadata.version(requirement.name)}")
    if installed:
        yield Finding("packages", "ok", ", ".join(installed))
    for extra, purpose in EXTRAS.items():
        needed = requirements(name, extra)
        is_missing = any(find_fault(requirement) for requirement in needed)
        state = f"not installed ({purpose}): pip install 'skelepipe[{extra}]'" if is_missing else "installed"
        if needed:
            yield Finding("extras", "ok", f"{extra}: {state}")


def requirements(name: str, extra: str = "") -> list[Requirement]:
    """Return what a package requires on this platform, or what one of its extras adds; empty if not installed."""
    try:
        lines = importlib.metadata.requires(name) or []
    except PackageNotFoundError:
        return []
    found = []
    for requirement in map(Requirement, lines):
        is_base = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        is_of_extra = not is_base and requirement.marker and requirement.marker.evaluate({"extra": extra})
        if is_of_extra if extra else is_base:
            found.append(requirement)
    return found


def find_fault(requirement: Requirement) -> str:
    """Return why an installed package does not meet a requirement; empty if it does."""
    try:
        version = importlib.metadata.version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is installed, {requirement.specifier} is required"
    return ""
