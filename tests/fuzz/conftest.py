"""What every fuzz test demands of the command line, and how bytes and texts are damaged."""

import io
import os
import re
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, configuration, given, seed, settings
from hypothesis import strategies as st

from escrime import cli

CODES = {0, 2, 3, 4}  # done, bad input, not to be believed, below --fail-under: those that the documentation names
FEW, MIDDLE, MANY = 20, 60, 1500  # examples
OTHERS = 150  # the seed of the middle-sized tests
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True, scope="session")
def own_folder(tmp_path_factory):
    """Hypothesis keeps nothing in the repository."""
    configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


def tried(strategy, check, examples: int, share: float = 1) -> None:
    """Call `check` with a share of that many examples, the same ones each time; of the middle-sized tests with others."""
    how = settings(
        max_examples=max(2, round(examples * share)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    test = how(given(strategy)(check))
    (seed(OTHERS)(test) if examples == MIDDLE else test)()


def tree(folder: Path) -> dict:
    """Every file's content and mode, every link's target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (about.st_mode, content)
    return found


class Place:
    """A folder to work in, in a larger one that no command may touch."""

    def __init__(self, root: Path):
        self.root, self.here = root, root / "here"
        self.here.mkdir(parents=True)
        (root / "beside.txt").write_text("untouched")

    def call(self, patch, *words) -> tuple[int, str, str]:
        """Exit code and both streams of the command line, after what is demanded of all.

        That is a code which the documentation names, one sentence where it failed, no traceback, nothing that a terminal obeys,
        nothing outside changed, nothing half-written.
        """
        before = {name: what for name, what in tree(self.root).items() if not name.startswith("here/out")}
        out, err = io.StringIO(), io.StringIO()
        patch.setattr("sys.argv", ["escrime", *map(str, words)])
        code = 0
        with chdir(self.here), redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's of odd pictures; ours are looked at in test_terminal.py
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code or 0
        said, complained = out.getvalue(), err.getvalue()
        assert code in CODES, (code, complained)
        errors = [line for line in complained.splitlines() if line.startswith("error: ")]
        assert len(errors) == (code == 2) and all(8 < len(line) < 3000 for line in errors), complained
        assert code != 2 or complained.endswith(errors[0] + "\n"), complained
        assert "Traceback" not in complained and "defect" not in complained and not OBEYED.search(said + complained), complained
        after = {name: what for name, what in tree(self.root).items() if not name.startswith("here/out")}
        assert after == before and not list(self.root.rglob("*.partial"))
        return code, said, complained


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path / "root")


@st.composite
def damaged(draw, content: bytes, most: int = 4) -> bytes:
    """`content` with some bytes changed, cut out, doubled or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind, length = draw(st.sampled_from(["change", "cut", "double", "insert", "end"])), draw(st.integers(1, 64))
        if kind == "change":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            del data[at:]
    return bytes(data)


nasty = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\0"),
        st.sampled_from("\x1b\x07\n\r\u202e\u2066[]()<>|`*$&#!\\{}:@"),
    ),
    max_size=40,
)
