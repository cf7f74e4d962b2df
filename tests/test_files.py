"""A file is whole or absent."""

import pytest

from escrime.errors import EscrimeError
from escrime.files import whole, write_whole


def test_written_and_replaced(tmp_path):
    write_whole(tmp_path / "sub" / "a.txt", "é")
    write_whole(tmp_path / "sub" / "a.txt", b"second")
    assert (tmp_path / "sub" / "a.txt").read_bytes() == b"second"
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(
        EscrimeError if isinstance(error, OSError) else KeyboardInterrupt,
        match="No space" if isinstance(error, OSError) else None,
    ):
        with whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
