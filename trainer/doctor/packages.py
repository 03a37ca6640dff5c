"""Which packages are there, whether each is as the others want it, and what is in the way of ours."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from trainer.doctor.findings import PROJECT_ROOT, Finding

OURS = ("cli", "pipeline", "trainer")
EXTRAS = {
    "analysis": "only for t-SNE in report, and for .mat files in convert",
    "cluster": "only for ingest --dask",
    "onnx": "only for export --format onnx",
}
"""The extras for users, and what each is for."""
EACH_OTHERS = ("numba", "zarr", "numcodecs", "torch", "h5py", "numpy")
"""Packages that have broken one another, whose own demands are looked at, too."""
NUMBERS = ("numba", "numpy", "torch")


def examine() -> Iterator[Finding]:
    """Python, packages, extras, and what conflicts."""
    yield python()
    yield from wanted("skelepipe")
    yield from demands(EACH_OTHERS)
    yield from conflicts()


def python() -> Finding:
    """Which Python this is, and whether it is one of those that skelepipe is for."""
    text = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {sys.prefix}"
    try:
        asked = importlib.metadata.metadata("skelepipe")["Requires-Python"] or ""
    except PackageNotFoundError:
        return Finding("python", "problem", "skelepipe is not installed here", "pip install -e . in its folder")
    if platform.python_version() not in SpecifierSet(asked, prereleases=True):
        return Finding("python", "problem", f"{text}; skelepipe is for {asked}", "make an environment of that version")
    return Finding("python", "ok", f"skelepipe {importlib.metadata.version('skelepipe')}, {text}")


def wanted(name: str) -> Iterator[Finding]:
    """What a package needs, each with the version that is there; all that is well in one line."""
    well = []
    for requirement in requirements(name):
        if fault := unmet(requirement):
            yield Finding("packages", "problem", fault, f"pip install '{requirement.name}{requirement.specifier}'")
        else:
            well.append(f"{requirement.name} {importlib.metadata.version(requirement.name)}")
    if well:
        yield Finding("packages", "ok", ", ".join(well))
    for extra, purpose in EXTRAS.items():
        needs = requirements(name, extra)
        missing = [requirement.name for requirement in needs if unmet(requirement)]
        said = f"not there ({purpose}): pip install 'skelepipe[{extra}]'" if missing else "there"
        if needs:
            yield Finding("extras", "ok", f"{extra}: {said}")


def demands(names: Sequence[str]) -> Iterator[Finding]:
    """What some packages demand of one another and do not get."""
    for name in names:
        for requirement in requirements(name):
            fault = unmet(requirement)
            if fault and canonicalize_name(requirement.name) in names:
                todo = f"pip install '{requirement.name}{requirement.specifier}'"
                yield Finding("packages", "problem", f"{name} wants {requirement}: {fault}", todo)


def requirements(name: str, extra: str = "") -> list[Requirement]:
    """What a package needs here, or for an extra besides; nothing when it is not there."""
    found = []
    try:
        lines = importlib.metadata.requires(name) or []
    except PackageNotFoundError:
        return []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        plain = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if (not plain and requirement.marker and requirement.marker.evaluate({"extra": extra})) if extra else plain:
            found.append(requirement)
    return found


def unmet(requirement: Requirement) -> str:
    """What is wrong with what is there of a requirement; nothing when it is met."""
    try:
        version = importlib.metadata.version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not there"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is there, {requirement.specifier} is wanted"
    return ""


def conflicts() -> Iterator[Finding]:
    """What is known to be in the way."""
    if find_spec("zfpy"):
        yield Finding(
            "conflicts", "problem", "zfpy is there: numcodecs breaks on it, and zarr with it", "pip uninstall zfpy"
        )
    for name in OURS:
        yield from foreign(name)
    for name in NUMBERS:
        spec = find_spec(name)
        where = Path(spec.origin).resolve() if spec and spec.origin else None
        if where and not any(where.is_relative_to(Path(place).resolve()) for place in {sys.prefix, sys.base_prefix}):
            yield Finding(
                "conflicts", "note", f"{name} comes from {where.parent}, outside {sys.prefix}", "see PYTHONPATH"
            )
    if given := os.environ.get("PYTHONPATH"):
        gone = [place for place in given.split(os.pathsep) if place and not Path(place).exists()]
        said = f"; {', '.join(gone)} {'is' if len(gone) == 1 else 'are'} not there" if gone else ""
        yield Finding("conflicts", "note", f"PYTHONPATH is set: {given}{said}", "unset it if that is not on purpose")
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in {"", "0"}:
        yield Finding(
            "conflicts", "problem", "NUMBA_DISABLE_JIT is set: loops are not compiled", "unset NUMBA_DISABLE_JIT"
        )


def foreign(name: str) -> Iterator[Finding]:
    """Modules and packages of others that bear the name of one of ours."""
    spec = find_spec(name)
    origin = Path(spec.origin).resolve() if spec and spec.origin else None
    if spec is None or origin is None or not origin.is_relative_to(PROJECT_ROOT.resolve()):
        said = f"`import {name}` finds {origin or 'nothing'}, not {PROJECT_ROOT / name}"
        yield Finding("conflicts", "problem", said, "give skelepipe an environment of its own, and unset PYTHONPATH")
        return
    for package in importlib.metadata.packages_distributions().get(name, ()):
        if canonicalize_name(package) != "skelepipe":
            said = f"the package {package} also has a module {name}: which one is found is chance"
            yield Finding("conflicts", "problem", said, f"pip uninstall {package}, or an environment of its own")
