"""README and docs/: every command runs, every link works, every page is listed, generated pages are up to date."""

import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main
from docs import generate
from pipeline.errors import ConfigError
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml
from pipeline.store.store import Store
from pipeline.store.verify import verify
from pipeline.synth.synth import write
from tests.support import released_checkpoints
from tests.support.result_files import result_file
from trainer.config.presets import compose_pretrain, load_preset
from trainer.runs.run import Run
from trainer.terminal.completion import SHELLS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands_of(text: str) -> list[str]:
    """The lines of all `sh` blocks of a page."""
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


COMMANDS = commands_of(README)
README_COMMANDS = [command for command in COMMANDS if command.startswith("skelepipe ")]
DOCS = ROOT / "docs"
DOC_PAGES = {
    path.stem: path
    for path in sorted(DOCS.rglob("*.md"))
    if not path.relative_to(DOCS).parts[0].startswith("_") and path != DOCS / "folder.md"  # a pointer to data/folder.md
}
"""The pages of docs/ by name; names are unique, so that pages can move between folders."""
PAGES = {
    name: [line for line in commands_of(path.read_text(encoding="utf-8")) if line.startswith("skelepipe ")]
    for name, path in DOC_PAGES.items()
}
"""The commands of each page."""
PAGES_RUN = {
    "quickstart", "commands", "predict", "evaluation", "ntu", "ctrgcn", "agcn", "stgcn", "pyskl", "running", "weights",
    "training", "reproduce", "report", "own-data", "doctor", "view", "several-gpus", "scale", "onnx",
}  # fmt: skip
"""The pages whose commands are run by a test below."""
MARKDOWN = sorted(
    [*ROOT.glob("*.md"), *DOC_PAGES.values(), *ROOT.glob("benchmarks/*.md"), ROOT / "pipeline/store/FORMAT.md"]
)
MAX_WORDS = 1500
"""Words of a page, those of code blocks and tables included."""
GENERATED = {ROOT / path for path in generate.PAGES}
LISTS = {*GENERATED, ROOT / "CHANGELOG.md"}
"""Pages to look something up in; they may be longer."""
SHORTENED = {"pretrain": "--set epochs=1 batch_size=16"}
"""Options added to a command so that it takes seconds; everything else runs unchanged."""


def make(*arguments: str, environment: Path) -> subprocess.CompletedProcess[str]:
    """Run make in this repository, with this Python's environment instead of a new one."""
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "skelepipe"):
        (environment / "bin" / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} {"-m cli" if name == "skelepipe" else ""} "$@"\n'
        )
        (environment / "bin" / name).chmod(0o755)
    (environment / ".ready").touch()
    command = ["make", "-C", str(ROOT), f"VENV={environment}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_readme_has_exactly_two_set_up_commands() -> None:
    assert [command for command in COMMANDS if command.startswith("make ")] == ["make demo", "make test"]


@pytest.mark.slow
def test_make_demo_runs_the_whole_job(tmp_path: Path) -> None:
    small = "DEMO=--clips 96 --epochs 1"
    done = make("demo", f"DEMO_FOLDER={tmp_path / 'demo'}", small, environment=tmp_path / "env")
    assert done.returncode == 0, done.stderr
    for text in (
        "$ skelepipe synth",
        "$ skelepipe ingest ntu60 raw",
        "$ skelepipe build-splits",
        "$ skelepipe pretrain",
        "$ skelepipe eval",
        "$ skelepipe report",
    ):
        assert text in done.stderr
    page = tmp_path / "demo" / "runs" / "ntu60-xsub-demo" / "report.html"
    assert page.stat().st_size < 3_000_000
    assert f"open {page} in a browser" in done.stderr
    assert "pre-trained" in done.stdout
    assert result_file(tmp_path / "demo" / "runs" / "ntu60-xsub-demo", "linear.json").exists()


def test_make_test_is_what_ci_runs() -> None:
    assert "make test check" in (ROOT / ".ci" / "run").read_text()
    planned = subprocess.run(
        ["make", "-C", ROOT, "-n", "test", "check", "VENV=/x"], capture_output=True, text=True, check=True
    ).stdout
    for step in ("ruff format --check", "ruff check", "mypy", "-m pytest", "NUMBA_BOUNDSCHECK=1"):
        assert step in planned


@pytest.mark.slow
def test_every_skelepipe_command_in_the_readme_runs(tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    assert len(README_COMMANDS) == 4
    run_all([*PAGES["quickstart"], *README_COMMANDS, *PAGES["commands"], *PAGES["ntu"]], tmp_path)


@pytest.mark.thorough
def test_the_commands_that_ask_the_readmes_run_run(tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    assert [command.split()[1] for command in PAGES["onnx"]] == ["export"] * 4 + ["embed"]
    pages = ("predict", "evaluation", "report", "onnx")
    four = [command.replace("--preset demo", "--preset quick") for command in README_COMMANDS]
    run_all([*four, *(command for page in pages for command in PAGES[page])], tmp_path)
    made = {"encoder.onnx", "projection.onnx", "classifier.onnx", "clips.npz", "by-embed.npz"}
    assert made <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.thorough
def test_the_commands_that_reproduce_the_paper_run(tmp_path: Path, raw: Path, shared_store: Store) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    narrow = " --set encoder.hidden_channels=4 encoder.hidden_dim=32 frames=16"
    run_all([command + narrow * (" pretrain " in command) for command in PAGES["reproduce"]], tmp_path)
    assert "epoch" in result_file(tmp_path / "runs" / "reference", "linear.json").read_text()
    assert result_file(tmp_path / "runs" / "ours", "linear.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["ctrgcn", "agcn", "stgcn", "pyskl"])
def test_every_skelepipe_command_of_a_page_runs(page: str, tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    write("pku1", tmp_path / "raw-pku", clips=24, seed=1)
    assert [command.split()[1] for command in PAGES[page][:2]] == ["ingest", "export"]
    run_all(PAGES[page], tmp_path)
    assert all((tmp_path / command.split("--out ")[1].split()[0]).exists() for command in PAGES[page])


@pytest.mark.slow
def test_the_commands_of_running_md_run(tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    assert [command.split()[1] for command in PAGES["running"]] == ["pretrain", "eval"]
    run_all(["skelepipe ingest ntu60 raw", "skelepipe build-splits", *PAGES["running"]], tmp_path)
    assert list((tmp_path / "runs" / "watched" / "eval").glob("knn-best-????????.json"))


@pytest.mark.slow
def test_the_commands_of_doctor_md_run(tmp_path: Path, shared_store: Store, shared_run: Run) -> None:
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    shutil.copytree(shared_run.path, tmp_path / "runs" / "ntu60-xsub-quick")
    assert [command.split()[1] for command in PAGES["doctor"]] == ["doctor", *["config"] * 5]
    run_all(PAGES["doctor"], tmp_path)
    text = DOC_PAGES["doctor"].read_text(encoding="utf-8")
    for shell, line in SHELLS.items():
        assert line.partition("  #")[0] in text.replace("\\|", "|"), shell
    (shown,) = re.findall(r"(?m)^    Error: (.*)$", text)
    with pytest.raises(ConfigError, match=f"^{re.escape(shown)}$"):
        compose_pretrain(load_preset("quick"), None, ["queue_size=64"])


@pytest.mark.thorough
def test_the_commands_for_other_peoples_weights_run(tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    (tmp_path / "weights").mkdir()
    for name, source, streams in (
        ("epoch300_model", "skelemixclr", ("joint",)),
        ("crossclr_3views", "crosclr", ("joint", "motion", "bone")),
        ("aimclr_bone", "aimclr", ("joint",)),
        ("aimclr_pku1", "aimclr", ("joint",)),
    ):
        released_checkpoints.Checkpoint(source, streams).save(tmp_path / "weights" / f"{name}.pt")
    run_all(PAGES["weights"], tmp_path)
    runs = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert runs == {"skelemixclr", "crosclr-motion", "aimclr-bone", "aimclr-pku1"}
    assert list((tmp_path / "runs" / "skelemixclr" / "eval").glob("linear-skelemixclr-*-xsub-*.json"))


@pytest.mark.thorough
def test_every_skelepipe_command_of_the_training_page_runs(tmp_path: Path, raw: Path, shared_store: Store) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    narrow = " --set encoder.hidden_channels=4"
    run_all([command + narrow * (" pretrain " in command) for command in PAGES["training"]], tmp_path)
    assert "skelemixclr+" in (tmp_path / "runs" / "smx-xsub-reference-ntu60-xsub" / "run.json").read_text()


@pytest.mark.slow
def test_the_commands_of_the_view_page_run(tmp_path: Path, raw: Path, shared_store: Store) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    run_all(PAGES["view"], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "raw", "processed", "clips-of-ntu60.html", "clips.html", "poses.png", "motion.gif", "poses.pdf", "mixed.html"
    }  # fmt: skip


@pytest.mark.thorough
def test_your_own_data_takes_ten_minutes(tmp_path: Path, shared_run: Run, shared_store: Store) -> None:
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    shutil.copytree(shared_run.path, tmp_path / "runs" / "ntu60-xsub-quick")
    commands = PAGES["own-data"]
    commands = [command.replace("--clips 96", "--clips 48") for command in commands]
    small = {"pretrain": " --set encoder.hidden_channels=4", "eval": " --set linear.epochs=2"}
    run_all([command + small.get(command.split()[1], "") for command in commands], tmp_path)
    for made in ("own", "own25", "own-openpose", "own-coco", "own-azure", "own-msr", "own-bvh", "own-coco25"):
        assert (tmp_path / made / "manifest.csv").exists(), made
    assert (tmp_path / "features.npz").exists()


def test_the_python_of_the_page_on_pose_tools_compiles() -> None:
    page = DOC_PAGES["tools"].read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "tools.md", "exec")


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, shared_store: Store) -> None:
    shutil.copytree(shared_store.path.parent, tmp_path / "processed")
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = f"{block}\nx, y = next(iter(loader))\nprint(*x.shape[1:], len(x) == len(y))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "runs/ntu60-xsub-quick on ntu60 xsub, top-1 %" in done.stdout
    assert done.stdout.endswith("\n3 64 25 2 True\n")


def run_all(commands: list[str], folder: Path) -> None:
    """Run commands one after the other in a folder; none may fail."""
    run_words(
        [[*shlex.split(command)[1:], *SHORTENED.get(command.split()[1], "").split()] for command in commands], folder
    )


def run_words(commands: list[list[str]], folder: Path, tree: Path = ROOT) -> None:
    """The same for commands as lists of words, without the program's name, with the code of a repository."""
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "run_commands.py"],
        input=json.dumps(commands),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_failing_command_is_reported(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"ingest ntu60 raw: exit code 2: Error: raw: no such"):
        run_all(["skelepipe --version", "skelepipe ingest ntu60 raw", "skelepipe never"], tmp_path)


@pytest.mark.thorough
def test_the_commands_for_several_gpus_run(tmp_path: Path, shared_store: Store) -> None:
    commands = commands_of(DOC_PAGES["several-gpus"].read_text(encoding="utf-8"))
    assert [command.split()[0] for command in commands] == ["skelepipe", "torchrun"]
    place = tmp_path / "bin"
    place.mkdir()
    for program, module in (("skelepipe", "cli"), ("torchrun", "torch.distributed.run")):
        (place / program).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (place / program).chmod(0o755)
    own = {"PYTHONPATH": str(ROOT), "PATH": f"{place}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    tiny = shlex.join(["--set", "epochs=1", "batch_size=12", "encoder.hidden_channels=2"])
    for number, command in enumerate(commands):
        shutil.copytree(shared_store.path.parent, tmp_path / str(number) / "processed")
        done = subprocess.run(
            ["bash", "-c", f"{command} {tiny} --json"],
            cwd=tmp_path / str(number),
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outcome"] == "trained"
        assert done.stderr.count("run runs/ntu60-xsub-quick") == 1
        assert verify(tmp_path / str(number) / "runs" / "ntu60-xsub-quick").findings == []


def test_every_page_with_commands_is_run_by_a_test() -> None:
    assert {page for page, commands in PAGES.items() if commands} == PAGES_RUN


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_every_other_command_is_known_to_these_tests(path: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", (ROOT / "Makefile").read_text()))
    for command in commands_of(path.read_text(encoding="utf-8")):
        if command.startswith("make "):
            assert command.split()[1] in targets
        else:
            assert command.startswith(("skelepipe ", "torchrun "))


def test_every_make_target_named_in_the_pages_exists() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", (ROOT / "Makefile").read_text()))
    for path in MARKDOWN:
        if path.name not in ("RESULTS.md", "CHANGELOG.md"):  # they also describe the past
            named = set(re.findall(r"`make ([a-z]+)[^`]*`", path.read_text(encoding="utf-8")))
            assert named <= targets, path.name


def test_every_make_target_has_a_help_line() -> None:
    text = (ROOT / "Makefile").read_text()
    declared = set(re.findall(r"(?m)^\.PHONY: (.*)$", text)[0].split())
    output = subprocess.run(["make", "-C", ROOT, "--silent", "help"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in output.splitlines()} == declared


def test_every_command_is_in_the_list_and_in_the_readme() -> None:
    listed = re.findall(r"(?m)^\| `skelepipe ([a-z-]+)[a-z ]*` \|", DOC_PAGES["commands"].read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(main.commands)
    for name in main.commands:
        assert f"`{name}`" in README, name


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r"(?m)^- \[[^]]+\]\(([^)]+)\)", DOC_PAGES["index"].read_text(encoding="utf-8"))
    paths = [path.relative_to(DOCS).as_posix() for name, path in DOC_PAGES.items() if name != "index"]
    assert sorted(page for page in listed if not page.startswith("..")) == sorted(paths)
    assert len(listed) == len(set(listed))


def test_page_names_are_unique() -> None:
    paths = [path for path in DOCS.rglob("*.md") if not path.relative_to(DOCS).parts[0].startswith("_")]
    assert {path.stem for path in paths} == DOC_PAGES.keys()
    assert len(paths) == len(DOC_PAGES) + 1  # the pointer


@pytest.mark.parametrize("path", [path for path in MARKDOWN if path not in LISTS], ids=lambda path: path.name)
def test_no_page_is_too_long(path: Path) -> None:
    words = [word for word in path.read_text(encoding="utf-8").split() if re.search(r"\w", word)]
    assert len(words) <= MAX_WORDS


@pytest.mark.parametrize("path", sorted(generate.PAGES))
def test_generated_pages_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == generate.PAGES[path](), "run `make pages`"


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_names_of_modules_and_functions_exist(path: Path) -> None:
    """Dotted names of our packages in backticks, without arguments."""
    if path.name == "CHANGELOG.md":  # older versions had other names
        return
    for name in re.findall(r"`((?:pipeline|trainer)\.[\w.]+)[`(]", path.read_text(encoding="utf-8")):
        assert pkgutil.resolve_name(name) is not None, f"{path.name}: {name}"


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    plain = re.sub(r"(?ms)^```.*?^```", "", text)
    headings = re.findall(r"(?m)^#+ (.*)$", plain)
    words = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in words}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_work(path: Path) -> None:
    """To existing files and headings of the repository; links to the network are not checked."""
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            to = (path.parent / target).resolve() if target else path
            assert to.exists(), f"{path.name} links to {target}"
            assert to.is_relative_to(ROOT)
            if anchor:
                assert anchor[1:] in slugs(to.read_text(encoding="utf-8")), f"{path.name} links to {target}{anchor}"


def test_the_skeleton_toml_of_ui_prmd_is_valid() -> None:
    spec = read_skeleton_toml(ROOT / "docs" / "examples" / "ui-prmd.toml")
    assert (len(spec.layout.joints), spec.layout.name) == (22, "ui-prmd")


SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path

options, script = [word for word in sys.argv[1:] if word.startswith("--")], sys.argv[-1]
if "--wrap" in options:
    sys.exit(subprocess.run(["bash", "-c", script]).returncode)
first, last = re.search(r"#SBATCH --array=(\\d+)-(\\d+)", Path(script).read_text()).groups()
chosen = [option.split("=")[1].split(",") for option in options if option.startswith("--array")]
for task in chosen[0] if chosen else range(int(first), int(last) + 1):
    environment = os.environ | {{"SLURM_ARRAY_TASK_ID": str(task), "SLURM_SUBMIT_DIR": os.getcwd()}}
    subprocess.run(["bash", script], env=environment, check=True, stdout=subprocess.DEVNULL)
print(1234)
"""
"""The parts of a scheduler that the script needs."""


@pytest.mark.slow
def test_the_batch_script_and_its_commands_run(tmp_path: Path, raw: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", DOC_PAGES["scale"].read_text(encoding="utf-8"), re.DOTALL)
    script, commands, *_ = blocks
    (tmp_path / "ingest.sbatch").write_text(script)
    shutil.copytree(raw, tmp_path / "raw")
    place = tmp_path / ".venv" / "bin"
    place.mkdir(parents=True)
    (place / "activate").write_text("export PATH=$PWD/.venv/bin:$PATH\n")
    (place / "skelepipe").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    (place / "sbatch").write_text(SBATCH.format(python=sys.executable))
    for program in ("skelepipe", "sbatch"):
        (place / program).chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{place}:{os.environ['PATH']}"}

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-ec", lines], cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = run("sbatch --parsable --array=2,3 ingest.sbatch")
    assert (done.returncode, done.stdout) == (0, "1234\n"), done.stderr
    early = run("skelepipe finalise")
    assert early.returncode == 1
    assert "run again --partition 1/4, then finalise" in early.stderr
    done = run(commands)
    assert done.returncode == 3, done.stderr  # three recordings are damaged
    assert "processed/ntu120.zarr: ingested, 72 clips" in done.stdout


def test_the_options_of_the_other_commands_of_scale_md_exist() -> None:
    text = DOC_PAGES["scale"].read_text(encoding="utf-8")
    ours = [shlex.split(line) for line in re.findall(r"(?m)^skelepipe (.*)$", text) if "--partition" not in line]
    assert len(ours) == 3
    for name, *words in ours:
        main.commands[name].make_context(name, words)
