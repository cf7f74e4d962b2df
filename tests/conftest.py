"""Fixtures every room uses: few threads, the real images of ../shared where they exist."""

import os
import tarfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch starts its threads, as the command line does
import torch  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    """Two in all: one for each of several pytest workers."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


SPREAD = ("test_zoo.py",)  # long tests that share trained networks only, which all workers have


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file stays with one worker, for its fixtures, but for SPREAD; xdist 3.8's own groups do nothing under pytest 9."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return nodeid if file.endswith(SPREAD) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> Path:
    """A folder for networks that take long to train, the same one for all pytest workers; ESCRIME_NETWORKS keeps it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = Path(os.environ.get("ESCRIME_NETWORKS") or base / "networks")
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights; tests skip only where it does not exist."""
    if not (SHARED / "data").exists():
        pytest.skip("no ../shared/data beside this clone")
    return SHARED


@pytest.fixture(scope="session")
def imagenette_folder(shared, tmp_path_factory) -> Path:
    """Imagenette unpacked once per test session, outside the repository."""
    folder = tmp_path_factory.mktemp("imagenette")
    archives = sorted((shared / "data").glob("imagenette2-224-*.tar"))
    assert len(archives) == 3, f"expected three Imagenette archives in {shared / 'data'}, found {len(archives)}"
    for archive in archives:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder
