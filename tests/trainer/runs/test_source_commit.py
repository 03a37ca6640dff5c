import shutil
import subprocess
from pathlib import Path

import pytest

from trainer.runs.source_commit import source_commit


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_git(tmp_path: Path) -> None:
    def git(*words: str, cwd: Path = tmp_path) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        return subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout

    assert source_commit(tmp_path) is None
    git("init", "--quiet")
    assert source_commit(tmp_path) is None
    git("commit", "--quiet", "--allow-empty", "-m", "one")
    head = git("rev-parse", "HEAD")[:12]
    assert source_commit(tmp_path) == head
    git("worktree", "add", "--quiet", "-b", "other", "tree")
    assert source_commit(tmp_path / "tree") == head
    git("pack-refs", "--all")
    assert source_commit(tmp_path) == source_commit(tmp_path / "tree") == head
    git("checkout", "--quiet", "--detach")
    assert source_commit(tmp_path) == head
