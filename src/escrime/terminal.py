"""Text on its way to a terminal: what names hold is shown, and never obeyed."""

import json
import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GONE = 128 + 13  # exit code where nobody reads any more: what a shell tells of a program that SIGPIPE ended
# Control characters, C1 too, line and paragraph separators, marks that turn the direction of writing, what is not seen, and
# halves of characters that no stream takes.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: Any, lines: bool = False) -> str:
    """`text` with everything that a terminal would obey written as an escape such as \\x1b; `lines`: but for line breaks, which
    only text of ours may hold."""
    return UNSAFE.sub(lambda found: found[0] if lines and found[0] == "\n" else _escaped(found[0]), str(text))


def cut(text: Any, most: int = 2000) -> str:
    """`text` without its middle where it is longer than anyone reads, as a value in a message may be."""
    text = str(text)
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 4 :]}"


def duration(seconds: float, about: bool = False) -> str:
    """75 → "1 min 15 s"; about: an estimate in its one largest unit, "75 s", "3 min", "1.5 h"."""
    if about:
        return (
            f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
        )
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def json_text(value: Any, **settings: Any) -> str:
    """`value` as JSON on several lines, readable in every script, safe on a terminal, and the same value when read again."""
    text = json.dumps(value, indent=2, ensure_ascii=False, **settings)
    return UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def json_line(value: Any) -> str:
    """`value` as JSON on one line, safe as `json_text` is."""
    return UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(value, ensure_ascii=False))


def _escaped(letter: str) -> str:
    code = ord(letter)
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(letter) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def make_console(**settings: Any) -> "Console":
    """A rich Console that prints text as it stands: no markup, no emoji codes, no highlighting, nothing to obey."""
    from rich.console import Console

    class Plain(Console):
        # Every text passes here: what is printed, the cells and titles of tables.
        def render_str(self, text: str, **style: Any) -> "Text":
            return super().render_str(printable(text), **style)

        def on_broken_pipe(self) -> None:
            """Whoever read has gone: nothing is written any more, and the program ends as others do then."""
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
            raise SystemExit(GONE)

    return Plain(**{"highlight": False, "markup": False, "emoji": False} | settings)
