"""What all commands share: exit codes in --help, options of other commands, the list that waits for no torch, closed pipes."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from escrime.cli import app
from escrime.cli.command import EXIT_CODES, name_of, parameters
from escrime.commands.catalog import KEPT, catalog, files, made
from escrime.terminal import GONE

COMMANDS = {name_of(info): info for info in app.registered_commands}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_exit_codes_that_the_command_can_leave_with(command):
    text = " ".join(CliRunner().invoke(app, [command, "--help"]).output.split())
    told = text.partition("Exit codes: ")[2]
    for code, (what, needs) in EXIT_CODES.items():
        assert (f"{code} {what}" in told) == (needs is None or needs in parameters(COMMANDS[command].callback)), code
    assert (f"{GONE} " in told) and text.count("Exit codes:") == 1
    assert ("3 a validity check" in told) == (command in ("evaluate", "run", "report"))
    assert ("4 less robust" in told) == (command in ("evaluate", "report"))


def test_the_list_is_what_the_code_makes_and_waits_for_nothing():
    kept = json.loads(KEPT.read_text("utf-8"))
    assert kept == {"files": files(), "catalog": made()}, "catalog.json is not what the code makes; run: python docs/tables.py"
    code = """
import sys
sys.argv[1:] = ["list", "--json"]
from escrime.cli import main
try:
    main()
finally:
    print(sorted({"torch", "pandas"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "[]"
    assert json.loads(done.stdout) == made()


def test_a_file_that_came_is_listed_at_once(tmp_path, monkeypatch):
    """Whoever adds an attack sees it before docs/tables.py has run."""
    kept = json.loads(KEPT.read_text("utf-8"))
    (tmp_path / "catalog.json").write_text(json.dumps(kept | {"files": kept["files"][1:]}))
    monkeypatch.setattr("escrime.commands.catalog.made", lambda: {"attacks": {"New": {}}})
    monkeypatch.setattr("escrime.commands.catalog.KEPT", KEPT.parent / "catalog.json")
    assert catalog.__wrapped__() == kept["catalog"]
    monkeypatch.setattr("escrime.commands.catalog.files", lambda: [*kept["files"], "attacks/new.py"])
    assert catalog.__wrapped__() == {"attacks": {"New": {}}}


def without_a_reader(*command, cwd=None):
    """(exit code, standard error) of a process whose standard output nobody reads: its first write fails, or its last flush."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, *command], stdout=write, stderr=subprocess.PIPE, text=True, cwd=cwd, timeout=60)
    finally:
        os.close(write)
    return done.returncode, done.stderr


def test_a_reader_who_has_gone_is_no_error(tmp_path):
    for words in (("list",), ("list", "--json"), ("compare", "--help")):
        assert without_a_reader("-m", "escrime", *words) in [(GONE, ""), (1, "")], words
    assert without_a_reader("-m", "escrime", "list") == (GONE, "")
    code, said = without_a_reader("-m", "escrime", "run", "digit", cwd=tmp_path)  # which writes nothing there
    assert code == 2 and said.startswith("error: ")


def test_a_console_whose_reader_has_gone_ends_the_program():
    assert without_a_reader("-c", "from escrime.terminal import make_console; make_console().print('x' * 100)") == (GONE, "")
