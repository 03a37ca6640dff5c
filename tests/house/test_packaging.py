import importlib.util
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from trainer.doctor import packages

ROOT = Path(__file__).parents[2]


def test_packages_are_imported_from_this_tree() -> None:
    """Another package is also called `trainer`; in one environment they would overwrite each other."""
    for name in ("pipeline", "trainer", "cli"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        assert ROOT in Path(spec.origin).parents, f"{name} comes from {spec.origin}: a foreign package shadows ours"


@pytest.mark.slow
def test_the_wheel_works_without_the_tree(tmp_path: Path) -> None:
    """Build the wheel, install it into an empty environment that borrows our dependencies, and use it elsewhere."""
    quiet = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run([*quiet, *build], check=True)
    (wheel,) = tmp_path.glob("skelepipe-*.whl")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    scheme = {"base": str(tmp_path / "env"), "platbase": str(tmp_path / "env")}
    target = Path(sysconfig.get_path("purelib", vars=scheme))
    subprocess.run([*quiet, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    (target / "lent.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    shipped = {path.relative_to(target).parts[0] for path in target.iterdir()}
    assert {"pipeline", "trainer", "cli.py"} <= shipped
    assert all((target / package / "py.typed").is_file() for package in ("pipeline", "trainer"))
    assert not shipped & {"tests", "raw", "processed", "runs", "benchmarks", "docs"}

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command: str) -> str:
        call = [str(tmp_path / "env/bin/python"), "-m", "cli", *command]
        done = subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    where = "import cli, pipeline, trainer; print(cli.__file__, pipeline.__file__, trainer.__file__)"
    call = [tmp_path / "env/bin/python", "-c", where]
    found = subprocess.run(call, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert all(Path(file).is_relative_to(target) for file in found.stdout.split())
    assert "build-splits" in run("--help")
    run("synth", "ntu60", "raw", "--clips", "2")
    assert "2 clips" in run("ingest", "ntu60", "raw")
    assert "good (store)" in run("verify", "processed/ntu60.zarr")
    run("view", "processed/ntu60.zarr", "--html", "clips.html")
    assert "<canvas" in (tmp_path / "clips.html").read_text(encoding="utf-8")
    inside = {path.relative_to(target) for path in target.glob("*/**/*") if path.is_file() and path.suffix != ".pyc"}
    for pattern in (
        "pipeline/report/templates/*",
        "pipeline/skeleton/layouts/*.toml",
        "pipeline/recipes/shipped/*.toml",
        "pipeline/*.txt",
        "trainer/config/presets/*.toml",
        "*/py.typed",
    ):
        assert {path.relative_to(ROOT) for path in ROOT.glob(pattern) if path.is_file()} <= inside, pattern
    run("synth", "coco", "dumps", "--clips", "1")
    assert "1 clips of kinect-v2 skeletons" in run("convert", "coco", "dumps", "--to", "kinect-v2", "--out", "own")


def test_every_dependency_is_pinned_for_reproducible_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().split()
        if "==" in line
    }
    extras = project["optional-dependencies"]
    assert set(packages.EXTRAS) == set(extras) - {"dev", "docs", "proof"}  # the extras that doctor reports
    for wanted in [*project["dependencies"], *(wanted for extra in extras.values() for wanted in extra)]:
        assert wanted.split(">=")[0].lower() in pinned, f"{wanted} is not in constraints.txt"


def test_the_ci_workflow_runs_only_the_ci_script() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_pre_commit_hooks_match_ci_and_download_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    planned = ["make", "-C", str(ROOT), "-n", "lint", "types", "VENV=/x"]
    output = subprocess.run(planned, capture_output=True, text=True, check=True).stdout
    for hook in hooks:
        assert f"bin/{' '.join(hook['entry'].split()[:2])}".removesuffix(" --force-exclude") in output


def test_the_citation_names_this_version_and_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert (citation["title"], citation["version"], citation["license"]) == (
        project["name"], project["version"], project["license"]
    )  # fmt: skip
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
