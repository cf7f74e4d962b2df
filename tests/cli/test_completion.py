"""What the shell completes, as bash asks for it."""

import os
import shutil
import subprocess
import sys

import pytest

from escrime.cli.completion import ATTACKS, images, model, rejoined
from escrime.commands.catalog import attacks


def test_names_apart_by_commas():
    assert ATTACKS(None, [], "") == list(attacks())
    assert ATTACKS(None, [], "FG") == ["FGSM"] and ATTACKS(None, [], "FGSM,A") == ["FGSM,APGD", "FGSM,AutoAttack"]
    assert ATTACKS(None, [], "FGSM,F") == ["FGSM,FMN"], "once each"


def test_models_by_kind_and_by_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", "net.onnx", "notes.txt", "w.safetensors", "w.pth"):
        (tmp_path / name).touch()
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.pt").touch()
    assert "torchvision:resnet50" in model(None, [], "torchv") and "torchvision:lenet" not in model(None, [], "torchv")
    assert model(None, [], "m") == ["mobilenet_v2@", "mine.py:"]
    assert model(None, [], "n") == ["net.onnx", "nets/"]
    assert model(None, [], "lenet@") == ["lenet@nets/", "lenet@w.pth", "lenet@w.safetensors"]
    assert model(None, [], "lenet@nets/") == ["lenet@nets/a.pt"]
    assert images(None, [], "n") == ["nets/"] and images(None, [], "di") == ["digits"] and images(None, [], "no/") == []


@pytest.mark.parametrize(
    ("words", "place", "found"),
    [
        (["e", "--model", "torchvision", ":", "res"], 4, (["e", "--model", "torchvision:res"], 2)),
        (["e", "--model", "torchvision", ":"], 3, (["e", "--model", "torchvision:"], 2)),
        (["e", "--model", "hf", ":", "a/b", "--data", "di"], 6, (["e", "--model", "hf:a/b", "--data", "di"], 4)),
        (["e", "--attack", "=", "FG"], 3, (["e", "--attack=FG"], 1)),
        (["e", "list", ""], 2, (["e", "list", ""], 2)),
    ],
)
def test_words_that_bash_has_cut(words, place, found):
    assert rejoined(words, place) == found


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_is_answered(tmp_path):
    """The script that --show-completion prints, in bash: one shell for all questions."""
    program = tmp_path / "escrime"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom escrime.cli import main\nsys.argv[0] = 'escrime'\nmain()\n")
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = subprocess.run(
        [program, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        timeout=60,
    )
    assert script.returncode == 0 and "complete -o default" in script.stdout
    questions = [
        (["evaluate", "--attack", "FGSM,Au"], {"FGSM,AutoAttack"}),
        (["evaluate", "--model", "torchvision", ":", "res"], {"resnet18", "resnet50"}),
        (["evaluate", "--data", "di"], {"digits"}),
        (["train", "len"], {"lenet"}),
        (["eval"], {"evaluate"}),
    ]
    lines = [script.stdout]
    for words, _ in questions:
        quoted = " ".join(f"'{word}'" for word in ["escrime", *words])
        lines.append(f'COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _escrime_completion escrime; echo "${{COMPREPLY[*]}}"')
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60
    )
    assert [set(line.split()) for line in done.stdout.splitlines()] == [found for _, found in questions], done.stderr
