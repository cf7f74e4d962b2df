"""What every command does beside its own: refuse values at once, say where a misplaced option belongs, list its exit codes."""

from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from typer import Exit, Typer
from typer.core import TyperCommand
from typer.models import CommandInfo

from ..terminal import GONE
from .refusals import refuse, refuse_number

# Exit code → what it says, and which parameter a command needs to leave with it.
EXIT_CODES = {
    0: ("done", None),
    1: ("a defect of escrime or of the model", None),
    2: ("refused: the sentence says what to change", None),
    3: ("a validity check forbids to believe the number (--strict)", "strict"),
    4: ("less robust than --fail-under", "fail_under"),
    130: ("stopped; the same command continues", None),
    GONE: ("whoever read the output has closed it, as head does", None),
}


class Command(TyperCommand):
    """A command whose values are looked at before its work, and torch with it, is imported."""

    numbers: dict[str, dict[str, type]] = {}  # command → option → int or float
    elsewhere: dict[str, list[str]] = {}  # option → the commands that have it

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = list(args)  # which typer empties
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", None)  # of NoSuchOption, which is typer's or click's own
            owners = self.elsewhere.get(str(name), [])
            if owners and self.name not in owners:  # else it is an option of this one, used as it cannot be
                error.message = f"escrime {self.name} has no option {name}; it is one of {' and '.join(owners)}"  # type: ignore[attr-defined]
            flag = _flag(getattr(getattr(error, "param", None), "name", None) or "")
            if kind := self.numbers.get(str(self.name), {}).get(flag):
                refuse_number(flag, kind, words)
            raise

    def invoke(self, ctx: Any) -> Any:
        refuse(str(self.name), ctx.params)
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Exit(GONE) from None


def complete_commands(app: Typer) -> None:
    """Give every command of `app` what is the same for all."""
    found = {name_of(info): parameters(info.callback) for info in app.registered_commands if info.callback}
    for info in app.registered_commands:
        codes = [
            f"{code} {what}" for code, (what, needs) in EXIT_CODES.items() if needs is None or needs in found[name_of(info)]
        ]
        info.cls = Command
        Command.numbers[name_of(info)] = _numbers(info.callback) if info.callback else {}
        info.epilog = "\n\n".join(filter(None, (info.epilog, f"Exit codes: {'; '.join(codes)}.")))
    for name, options in found.items():
        for option in options:
            Command.elsewhere.setdefault(_flag(option), []).append(name)


def _flag(parameter: str) -> str:
    return f"--{parameter.strip('_').replace('_', '-')}"


def _numbers(function: Callable[..., Any]) -> dict[str, type]:
    """The options that take a number."""
    kinds = {name: (hint, *get_args(hint)) for name, hint in get_type_hints(function).items()}
    return {_flag(name): kind for name, own in kinds.items() for kind in (int, float) if kind in own}


def name_of(info: CommandInfo) -> str:
    assert info.callback is not None
    return info.name or info.callback.__name__.replace("_", "-")


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(function.__annotations__)[: -1 if "return" in function.__annotations__ else None]
