"""The command line: one sentence on bad input, exit code ≠ 0, a traceback only with --debug."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from escrime import cli


@pytest.fixture
def escrime(tmp_path, monkeypatch, capsys):
    """Call the command line as a process would: arguments in, exit code and both streams out, in an empty folder."""

    def call(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["escrime", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return SimpleNamespace(returncode=stop.value.code or 0, **capsys.readouterr()._asdict())

    return call


def test_help_answers_without_torch():
    code = """
import sys
sys.argv = ["escrime", "--help"]
from escrime.cli import main
try:
    main()
except SystemExit:
    pass
assert "torch" not in sys.modules
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "escrime run digits" in done.stdout, done.stderr
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("command", ["run", "report", "compare", "tune", "list"])
def test_each_command_shows_a_worked_example(command, escrime):
    done = escrime(command, "--help")
    assert done.returncode == 0 and f"escrime {command}" in done.out and "xample" in done.out


def test_list_says_what_there_is(escrime):
    done = escrime("list")
    for word in (
        "digits",
        "imagenette",
        "cifar10",
        "wide_resnet50_2",
        "googlenet",
        "FGSM",
        "DGSM",
        "PredictionAveraging",
        "fgsm-directed",
    ):
        assert word in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "digit"), "Did you mean 'digits'"),
        (("run", "nothing.toml"), "does not exist"),
        (("run", "digits", "--limit", "0"), "data.limit = 0"),
        (("run", "digits", "--device", "cuda:9"), "not available"),
        (("run", "digits", "--device", "abacus"), "unknown"),
        (("run", "digits", "--models", "lenett"), "Did you mean 'lenet'"),
        (("run", "digits", "--data", "somewhere"), "leave out --data"),
        (("run", "imagenette", "--data", "nowhere"), "nowhere"),
        (("run", "imagenette", "--data", "."), "."),
        (("report", "nowhere"), "nowhere"),
        (("compare", "nowhere", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(words, said, escrime, tmp_path):
    done = escrime(*words)
    assert done.returncode == 2, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: ") and said in last and "Traceback" not in done.err
    assert not list(tmp_path.glob("**/*.json")), "a refused run must leave nothing half-written"


def test_an_unsafe_pickle_is_refused_unopened_and_leaves_no_run_behind(escrime, tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    done = escrime("run", "digits", "--models", "lenet", "--weights", "evil.pt")
    assert done.returncode == 2 and "evil.pt" in done.err and "Traceback" not in done.err
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "runs" / "digits" / "manifest.json").exists()


def test_debug_shows_the_traceback_of_what_is_one_sentence_without(escrime, tmp_path):
    plain = escrime("run", "digit")
    assert plain.returncode == 2 and plain.err.startswith("error: ") and "Traceback" not in plain.err
    command = [sys.executable, "-m", "escrime", "run", "digit", "--debug"]
    debug = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert debug.returncode != 0 and "Traceback" in debug.stderr


def test_an_unknown_target_is_refused_before_any_work(escrime, tmp_path):
    from escrime.commands.run.files import shipped

    text = shipped()["digits"].read_text().replace('target = "1"', 'target = "eleven"')
    (tmp_path / "mine.toml").write_text(text)
    done = escrime("run", "mine.toml")
    assert done.returncode == 2 and "'eleven' is not a class of digits" in done.err
    assert not (tmp_path / "runs" / "mine" / "checkpoints").exists()


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_json_stands_alone_on_stdout_whatever_the_work_prints(command, escrime, monkeypatch):
    """A user's model that says "loading weights" must not spoil `--json | jq`."""
    found = {"robust": {"accuracy": 0.5}}
    run = SimpleNamespace(team=SimpleNamespace(first=True), folder=SimpleNamespace(write_json=lambda *_: None))

    def work(*_, **__):
        print("loading weights")
        return run if command == "evaluate" else (Path("."), found)

    monkeypatch.setattr("escrime.commands.evaluate.assessment.assess", work)
    monkeypatch.setattr("escrime.commands.evaluate.result.result", lambda _: found)
    monkeypatch.setattr("escrime.commands.tune.tune.tune_model", work)
    done = escrime(command, "--model", "hf:org/m", "--data", "digits", "--eps", "0.1", "--device", "cpu", "--json")
    assert done.returncode == 0 and json.loads(done.out) == found and "loading weights" in done.err


def test_a_terminal_without_greek_letters_is_told_all_the_same(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.argv", ["escrime", "list"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    terminal.flush()
    said = terminal.buffer.getvalue()
    assert not stop.value.code and b"wide_resnet50_2" in said and b"8?64 px" in said


def test_a_full_disk_behind_stdout_is_no_defect(tmp_path):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "escrime", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2 and "No space left on device" in done.stderr and "defect" not in done.stderr


@pytest.mark.slow
def test_stopped_it_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "escrime", "train", "lenet", "--data", "digits", "--epochs", "2000", "--out", "run"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=tmp_path) as running:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "metrics.csv").exists():
            assert running.poll() is None and time.monotonic() < deadline, running.stderr.read()
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; what is finished is kept. Continue with: escrime train lenet --data digits --epochs 2000" in said


def test_a_warning_is_its_sentence_alone():
    code = "import sys, warnings; from escrime import cli; cli.app = lambda: warnings.warn('two are left out.'); cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "warning: two are left out.\n" and done.returncode == 0
    done = subprocess.run([sys.executable, "-c", code, "--debug"], capture_output=True, text=True, timeout=60)
    assert "UserWarning" in done.stderr, "where it comes from, for those who ask"


@pytest.mark.parametrize(
    "words",
    [
        ("harden", "--model", "hf:org/m", "--data", "digits", "--eps", "0.1"),
        ("tune", "--model", "hf:org/m", "--data", "digits", "--eps", "0.1"),
        ("attack", ".", "--model", "hf:org/m"),
    ],
    ids=lambda words: words[0],
)
def test_what_one_process_does_is_not_done_by_all_that_torchrun_started(words, escrime, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = escrime(*words)
    assert found.returncode == 2 and f"escrime {words[0]} works in one process, and torchrun started 2" in found.err


def test_ctrl_c_that_an_import_swallows_is_no_defect():
    """Where numpy is being imported, KeyboardInterrupt may end as another error."""
    script = """
import signal
import escrime.cli as cli

def app():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RecursionError("maximum recursion depth exceeded") from None

cli.app = app
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130 and "stopped" in done.stderr and "defect" not in done.stderr, done.stderr
