"""What a run says arrives as it was said."""

from rich.table import Table

from escrime.commands.shared.display import Display


def test_brackets_are_text(capsys):
    display = Display()
    display.say("smaller numbers in [checks] of the file [bold]x[1].png[/bold]")
    with display.bar("Attack [red]", 1) as advance:
        advance(note="[note]")
    table = Table("class")
    table.add_row("[green] tea")
    display.say(table)
    said = capsys.readouterr().out
    for text in ("[checks]", "[bold]x[1].png[/bold]", "Attack [red]: done, [note]", "[green] tea"):
        assert text in said
