"""Names of classes from a file: the forms that people have them in, and a sentence for anything else."""

import pytest
import torch

from escrime import EscrimeError
from escrime.models.loading.class_names import read_classes, with_classes
from escrime.models.loading.loaded import Loaded, imagenet_wnids

WNIDS = ("n01440764", "n02102040")


@pytest.mark.parametrize(
    "text, wnids",
    [
        ("tench\nEnglish springer\n", None),
        ("\ufefftench\r\nEnglish springer\r\n\r\n", None),
        ("0 tench\n1 English springer", None),
        ("0: tench\n1: English springer", None),
        ("n01440764 tench\nn02102040 English springer", WNIDS),
        ("0 n01440764 tench\n1 n02102040 English springer", WNIDS),
        ('["tench", "English springer"]', None),
        ('{"1": "English springer", "0": "tench"}', None),
        ("{0: 'tench',\n 1: 'English springer'}", None),
        ('{"English springer": 1, "tench": 0}', None),
        ('{"0": ["n01440764", "tench"], "1": ["n02102040", "English springer"]}', WNIDS),
    ],
)
def test_every_form(text, wnids, tmp_path):
    (tmp_path / "names").write_bytes(text.encode())
    assert read_classes(tmp_path / "names") == (("tench", "English springer"), wnids)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "holds no names in order"),
        (b"ant\n\nbee", "calls a class ''"),
        (b"ant\nbe\x1b[2Je", "which cannot be shown"),
        (b'{"0": "ant", "2": "bee"}', "holds no names in order; write one name a line"),
        (b"[1, 2]", "holds no names in order"),
        (b'["ant", ', "holds no names in order"),
        (b"\xff\xfea", "is no text in UTF-8"),
        (b"[" * 100_000, "holds no names in order"),
    ],
)
def test_anything_else_is_one_sentence(content, said, tmp_path):
    (tmp_path / "names").write_bytes(content)
    with pytest.raises(EscrimeError, match=said):
        read_classes(tmp_path / "names")
    with pytest.raises(EscrimeError, match="does not exist"):
        read_classes(tmp_path / "nothing")


def test_given_names_come_before_the_model_s_and_ids_become_names(tmp_path):
    loaded = Loaded(torch.nn.Identity(), "mine.py:load", ("a", "b"))
    assert with_classes(loaded, None) == loaded and with_classes(loaded, ["x", "y"]).classes == ("x", "y")
    found = with_classes(Loaded(torch.nn.Identity(), "mine.py:load", WNIDS), None)
    assert found.classes == ("tench", "English springer") and found.wnids == WNIDS
    (tmp_path / "ids.txt").write_text("\n".join(imagenet_wnids()))
    found = with_classes(loaded, str(tmp_path / "ids.txt"))
    assert found.classes[574] == "golf ball" and found.wnids == imagenet_wnids()
