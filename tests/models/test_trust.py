"""What is code runs only where the user says so: the five known ways in which reading a .pt2 file runs some, and the commands
that take a model."""

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import zipfile
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from escrime import EscrimeError, cli, load_model

COMPILER = shutil.which("cc") or shutil.which("gcc")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(192, 4)

    def forward(self, x):
        return self.fc(x.flatten(1)) + torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """An honest program with a dynamic batch: path → bytes."""
    path = tmp_path_factory.mktemp("programs") / "m.pt2"
    shapes = ({0: torch.export.Dim("n", min=1, max=512)},)
    torch.export.save(torch.export.export(Net().eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=shapes), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Evil:
    """Makes a folder as it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def torch_pickle(marker) -> bytes:
    buffer = io.BytesIO()
    torch.save(Evil(marker), buffer)
    return buffer.getvalue()


def sample_inputs(parts, marker, _):
    parts["m/data/sample_inputs/model.pt"] = torch_pickle(marker)


def opaque_object(parts, marker, _):
    config = json.loads(parts["m/data/constants/model_constants_config.json"])
    entry = next(iter(config["config"].values()))
    entry |= {"path_name": "opaque_obj_0", "use_pickle": True, "tensor_meta": None}
    parts["m/data/constants/model_constants_config.json"] = json.dumps(config).encode()
    parts["m/data/constants/opaque_obj_0"] = pickle.dumps(Evil(marker))


def escaped_key(parts, marker, _):
    name = "m/data/weights/model_weights_config.json"
    config = json.loads(parts[name])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    parts[f"m/data/weights/{entry['path_name']}"] = torch_pickle(marker)
    parts[name] = json.dumps(config).replace('"use_pickle"', '"use\\u005fpickle"').encode()


def expression(parts, marker, _):
    text, payload = parts["m/models/model.json"].decode(), json.dumps(f"__import__('os').mkdir({str(marker)!r})")
    text, times = re.subn(r'"expr_str": "[^"]+"', lambda _: f'"expr_str": {payload}', text)
    assert times
    parts["m/models/model.json"] = text.encode()


def shared_object(parts, marker, folder):
    source, library = folder / "x.c", folder / "x.so"
    source.write_text(f'#include <sys/stat.h>\n__attribute__((constructor)) void f() {{ mkdir("{marker}", 0700); }}\n')
    if COMPILER:
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source], check=True)
    parts["m/data/aotinductor/model/x.wrapper.so"] = library.read_bytes() if COMPILER else b"\x7fELF"
    parts["m/data/aotinductor/model/x.wrapper_metadata.json"] = b'{"AOTI_DEVICE_KEY": "cpu"}'


@pytest.fixture(params=[sample_inputs, opaque_object, escaped_key, expression, shared_object], ids=lambda way: way.__name__)
def hostile(request, program, tmp_path):
    """A program that makes the folder `marker` as torch reads it."""
    made = SimpleNamespace(path=tmp_path / "m.pt2", marker=tmp_path / "ran", way=request.param.__name__)
    parts = dict(program)
    request.param(parts, made.marker, tmp_path)
    with zipfile.ZipFile(made.path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made


def test_no_program_runs_without_trust(hostile, monkeypatch):
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("torch was asked to read it"))
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(EscrimeError, match=r"m.pt2 is a program.* nothing of it was read.*add --trust") as said:
        load_model(str(hostile.path))
    assert str(said.value).count("\n") == 0 and not hostile.marker.exists()


def test_the_attacks_are_real(hostile):
    """Else the test above would see nothing run whatever escrime did."""
    if hostile.way == "shared_object" and not COMPILER:
        pytest.skip("no C compiler to make a library with")
    with suppress(Exception):
        load_model(str(hostile.path), trust=True)
    assert hostile.marker.exists()


COMMANDS = {
    "evaluate": ("--data", "photos", "--eps", "4/255", "--model"),
    "attack": ("photos/a/0.png", "--model"),
    "harden": ("--data", "photos", "--eps", "4/255", "--model"),
    "tune": ("--data", "photos", "--eps", "4/255", "--model"),
    "train": ("lenet", "--data", "digits", "--epochs", "1", "--teacher"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("trust", [False, True])
def test_every_command_that_takes_a_model_asks(command, trust, tmp_path, monkeypatch, capsys):
    """With --trust the same file is looked at, and found to be no archive."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), "gray").save(tmp_path / "elsewhere" / name / "0.png")
    (tmp_path / "photos").symlink_to("elsewhere")  # a link that the user names
    (tmp_path / "evil.pt2").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    words = ["escrime", command, *COMMANDS[command], "evil.pt2", "--device", "cpu", *["--trust"][: int(trust)]]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().err
    assert stop.value.code == 2 and ("damaged or no .pt2 archive" if trust else "add --trust") in said, said
    assert "Traceback" not in said and not (tmp_path / "ran").exists()
    assert not (tmp_path / "adversarial").exists() and not (tmp_path / "runs" / "evaluate-evil").exists()


def test_what_was_trusted_once_is_not_trusted_for_ever(program, tmp_path):
    """A run folder says nothing of trust, so that one from a stranger cannot grant it."""
    from escrime.commands.evaluate.request import Request

    asked = Request("m.pt2", "digits", (0.1,), trust=True)
    assert "trust" not in asked.settings() and asked.settings() == Request("m.pt2", "digits", (0.1,)).settings()


def test_a_python_file_and_weights_need_no_word(tmp_path):
    (tmp_path / "mine.py").write_text("import torch\ndef load():\n    return torch.nn.Flatten(1)\n")
    assert load_model(f"{tmp_path / 'mine.py'}:load").answers == "gradients"


def test_remote_code_is_never_asked_for(monkeypatch):
    transformers = pytest.importorskip("transformers")
    asked = []

    def loads(name, **settings):
        asked.append(settings)
        return SimpleNamespace()

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", loads)
    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", loads)
    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", loads)
    with pytest.raises(EscrimeError, match="cannot be loaded"):
        load_model("hf:some/one")
    assert len(asked) == 3 and all(settings["trust_remote_code"] is False for settings in asked)
    assert asked[1]["use_safetensors"] is True


def test_code_beside_a_hub_model_is_left_alone(tmp_path):
    """A folder whose config.json names Python of its own."""
    pytest.importorskip("transformers")
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\nclass Net: pass\nclass Config: pass\n")
    names = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net", "AutoImageProcessor": "evil.Net"}
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_text(json.dumps({"model_type": "evil", "auto_map": names, "architectures": ["Net"]}))
    with pytest.raises(EscrimeError, match="cannot be loaded"):
        load_model(f"hf:{tmp_path}")
    assert not (tmp_path / "ran").exists()
