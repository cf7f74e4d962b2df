"""What names hold is shown on a terminal, and never obeyed."""

import io
import json
import os
import re
import signal
import sys
import time
import warnings

import pytest
from rich.table import Table

from escrime import EscrimeError, cli
from escrime.commands.shared.display import Display
from escrime.terminal import json_line, json_text, make_console, printable

NASTY = "a\x1b]0;owned\x07b\x1b[2J\x9b31m\r\n\u202ec\u2066d\u2028e\x00[red]f[/red][link=x]g:skull:"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def test_every_control_character_is_written_out():
    shown = printable(NASTY)
    assert not OBEYED.search(shown) and "\n" not in shown
    assert shown.startswith("a\\x1b]0;owned\\x07b\\x1b[2J\\x9b31m\\r\\n\\u202ec\\u2066d\\u2028e\\x00[red]f")
    assert printable("é 中 ε_max ≤ ▲ 👍🏽 \ud800") == "é 中 ε_max ≤ ▲ 👍🏽 \\ud800"
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b" and printable(shown) == shown


def test_json_stays_the_same_value():
    for text in (json_text({NASTY: [NASTY]}), json_line({NASTY: [NASTY]})):
        assert json.loads(text) == {NASTY: [NASTY]} and not OBEYED.search(text)


@pytest.mark.parametrize("terminal", [True, False])
def test_displays_show_names_as_they_are(terminal):
    """Lines, tables, bars and their notes; neither the terminal's language nor rich's own is spoken."""
    out = io.StringIO()
    display = Display(make_console(file=out, force_terminal=terminal, width=300, color_system=None))
    display.say(f"{NASTY} said")
    table = Table(title=f"{NASTY} title")
    table.add_column(f"{NASTY} head")
    table.add_row(f"{NASTY} cell")
    display.say(table)
    with display.bar(f"{NASTY} bar", 1) as advance:
        advance(1, note=f"{NASTY} note")
    own = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "")  # those of bars
    assert not OBEYED.search(own)
    for what in ("said", "title", "head", "cell", "bar", "note"):
        assert re.search(re.escape(printable(NASTY)) + rf" +{what}", own), what
    assert "\x1b]0" not in out.getvalue() and "\x1b[2J" not in out.getvalue()


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_errors_and_warnings_too(debug, monkeypatch, capsys):
    def fail():
        warnings.warn(f"{NASTY} warned", stacklevel=1)
        raise EscrimeError(f"{NASTY} failed")

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr("sys.argv", ["escrime", "list", *debug])
    monkeypatch.setattr("sys.excepthook", None)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *told: sys.stderr.write(warnings.formatwarning(*told[:4])))
        if debug:
            with pytest.raises(EscrimeError) as error:
                cli.main()
            capsys.readouterr()
            sys.excepthook(error.type, error.value, error.tb)
        else:
            with pytest.raises(SystemExit, match="2"):
                cli.main()
    said = capsys.readouterr().err
    assert not OBEYED.search(said) and "\\x1b]0;owned" in said and "failed" in said
    assert debug or "warned" in said


def test_a_kill_ends_like_ctrl_c(monkeypatch, capsys):
    """Whole files, the command to go on with, an exit code of its own; and what was there before is there again."""
    before, left = signal.getsignal(signal.SIGTERM), []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            left.append("cleaned up")

    monkeypatch.setattr(cli, "app", work)
    monkeypatch.setattr("sys.argv", ["escrime", "attack", "cat.jpg"])
    with pytest.raises(SystemExit, match="143"):
        cli.main()
    assert left and "Continue with: escrime attack cat.jpg" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
