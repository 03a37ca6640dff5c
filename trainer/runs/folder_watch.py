"""Check during a training that its run folder has not been removed, moved or replaced."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.artifacts.paths import RUN_FILE
from pipeline.errors import ArtifactError, OutputFailed
from trainer.runs.run import Run, load_run


class FolderWatch:
    """The run folder as it was when the training started; it is open, so that no other folder gets its inode number."""

    def __init__(self, run: Run, folder: int) -> None:
        self._run, self._folder = run, folder
        self._run_file = self._identify_run_file()

    def require_unchanged(self) -> None:
        """Check that the path still leads to the same folder with the same run.

        Raises:
            OutputFailed: the folder or its run.json was removed, moved or replaced.
        """
        try:
            if not os.path.samestat(self._run.path.stat(), os.fstat(self._folder)):
                raise OutputFailed(self._message("the run folder was replaced by another one"))
            if (found := self._identify_run_file()) != self._run_file:
                if load_run(self._run.path).digest != self._run.digest:
                    raise OutputFailed(self._message(f"{RUN_FILE} was replaced by that of another run"))
                self._run_file = found
        except (FileNotFoundError, NotADirectoryError, ArtifactError) as error:
            is_there = self._run.path.is_dir()
            problem = f"{RUN_FILE} was removed or damaged" if is_there else "the run folder was removed or moved"
            raise OutputFailed(self._message(problem)) from error

    def _identify_run_file(self) -> tuple[int, int, int]:
        found = (self._run.path / RUN_FILE).stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _message(self, problem: str) -> str:
        return (
            f"{self._run.path}: {problem} during the training, which has stopped; put the run back and run the same "
            "command again to resume from its newest checkpoint"
        )


@contextmanager
def watch_folder(run: Run) -> Iterator[FolderWatch]:
    """Open the folder of a run that will be trained, to notice when it is removed, moved or replaced.

    Raises:
        OutputFailed: it has gone already.
    """
    try:
        folder = os.open(run.path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputFailed(f"{run.path}: the run folder was removed or moved; run the same command again") from error
    try:
        watch = FolderWatch(run, folder)
        watch.require_unchanged()
        yield watch
    finally:
        os.close(folder)
