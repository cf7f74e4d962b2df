"""Fixtures every room uses: few threads, the real images of ../shared where they exist. Who runs which file, and when."""

import os
import tarfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads, as the command line does
if "PYTEST_XDIST_WORKER" in os.environ:  # what a test starts in a process of its own shares the cores with the other worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    """Two in all: one for each of several pytest workers."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


# Whose tests share trained networks only, which all workers have; those with one parameter stay together.
SPREAD = "test_zoo.py"
# The files that take longest begin first, in this order, as one that began last would leave the other worker idle; then
# those with the most tests.
LONGEST = (
    *("test_digits_run.py", "test_imagenette.py", SPREAD, "test_evaluate_command.py", "test_evaluate_survives.py"),
    *("test_evaluate_budget.py", "test_processes.py", "test_run.py", "test_imagenette_data.py", "test_overfitting_digits.py"),
    *("test_training_command.py", "test_fuzz_inputs.py", "test_report_browser.py", "test_resume.py", "test_docs.py"),
    *("test_checked_evaluation.py", "test_profile.py", "test_evaluate.py", "test_report_figures.py", "test_newcomers.py"),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, for its fixtures, but for SPREAD; xdist 3.8's own groups do nothing under pytest 9."""
    from xdist.scheduler import LoadFileScheduling

    def rank(scope: str) -> int:
        file = Path(scope.partition("::")[0]).name
        return LONGEST.index(file) if file in LONGEST else len(LONGEST)

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return f"{file}::{nodeid.partition('[')[2]}" if file.endswith(SPREAD) else file

        def _assign_work_unit(self, node) -> None:
            self.workqueue.move_to_end(min(self.workqueue, key=rank), last=False)
            super()._assign_work_unit(node)

    return ByFile(config, log)


@pytest.fixture(scope="session")
def common(tmp_path_factory) -> Path:
    """A folder that all pytest workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def networks(common) -> Path:
    """A folder for networks that take long to train, the same one for all pytest workers; ESCRIME_NETWORKS keeps it."""
    folder = Path(os.environ.get("ESCRIME_NETWORKS") or common / "networks")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights; tests skip only where it does not exist."""
    if not (SHARED / "data").exists():
        pytest.skip("no ../shared/data beside this clone")
    return SHARED


@pytest.fixture(scope="session")
def once(common):
    """A function (name, make) → the folder `name` that `make(folder)` has filled, once for all pytest workers."""
    from tests.zoo.training import one_at_a_time

    def filled(name, make) -> Path:
        with one_at_a_time(common / f"{name}.lock"):
            if not (common / name).exists():
                make(common / f"{name}.partial")
                (common / f"{name}.partial").rename(common / name)
        return common / name

    return filled


@pytest.fixture(scope="session")
def imagenette_folder(shared, once) -> Path:
    """Imagenette unpacked once for all pytest workers, outside the repository."""
    archives = sorted((shared / "data").glob("imagenette2-224-*.tar"))
    assert len(archives) == 3, f"expected three Imagenette archives in {shared / 'data'}, found {len(archives)}"

    def unpack(folder: Path) -> None:
        for archive in archives:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")

    return once("imagenette", unpack)
