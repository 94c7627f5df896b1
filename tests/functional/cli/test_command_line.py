"""The command line itself: its help, what it suggests, and that its parts say the same."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import click
import pytest

from fraud_detection.cli import options
from fraud_detection.cli.main import COMMANDS, fraud, main
from fraud_detection.cli.printing import Output
from tests.command_line import commands

ALL = dict(commands())
GROUPS = ["Try it", "Train", "Serve", "Release", "Look back", "AWS"]


def test_help_lists_every_command_in_the_group_of_what_a_person_wants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    titled = {block.partition(":\n")[0]: block for block in blocks if ":\n" in block}
    assert [title for title in titled if title != "Options"] == GROUPS
    for title, group in COMMANDS.items():
        named = {line.split()[0] for line in titled[title].splitlines()[1:] if line[2] != " "}
        assert named == set(group)


def test_no_help_imports_a_library_of_numbers_tables_models_or_screens() -> None:
    """Nor one of an extra: help and completion are quick, and work in the plain installation."""
    program = (
        "import sys\n"
        "from fraud_detection.cli.main import main\n"
        "for line in sys.argv[1:]:\n"
        "    assert main([*line.split(), '--help']) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", program, "", *ALL], capture_output=True, text=True, check=True
    )
    heavy = {
        "boto3",
        "botocore",
        "matplotlib",
        "mlflow",
        "msgspec",
        "numpy",
        "pyarrow",
        "rich",
        "xgboost",
        "yaml",
    }
    assert done.stdout.count("Usage: fraud") == len(ALL) + 1
    assert heavy.isdisjoint(done.stderr.split())


def test_the_list_of_commands_imports_none_of_them() -> None:
    program = (
        "import sys\n"
        "from fraud_detection.cli.main import main\n"
        "main([])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    own = {name for name in done.stderr.split() if name.startswith("fraud_detection.cli.")}
    assert own == {f"fraud_detection.cli.{name}" for name in ("main", "command", "options")}


@pytest.mark.parametrize("name", fraud.commands)
def test_the_list_of_commands_has_what_each_command_has_in_its_help(name: str) -> None:
    (listed,) = [group[name] for group in COMMANDS.values() if name in group]
    stub = fraud.commands[name]
    command = stub.load()  # type: ignore[attr-defined]
    assert (command.name, (command.help or "").splitlines()[0]) == (name, listed[1])


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_every_option_of_it_has_a_help_text(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), "--help"]) == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith(f"Usage: fraud {name} ")
    assert [
        option.name for option in ALL[name].params if isinstance(option, click.Option) and not option.help
    ] == []


def kind_of(annotation: object) -> object:
    """Return the type of a parameter's values: that of each, where there may be several, without None."""
    if get_origin(annotation) is tuple:
        return kind_of(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return str
    rest = [argument for argument in get_args(annotation) if argument is not type(None)]
    return kind_of(rest[0]) if rest else annotation


def taken(function: object) -> dict[str, object]:
    """Return what a function takes, with its annotations; a tuple of options counts as its fields."""
    inner = inspect.unwrap(function)  # type: ignore[arg-type]
    parameters: dict[str, object] = {}
    names = vars(inspect.getmodule(inner)) | {"Output": Output}
    for name, parameter in [*inspect.signature(inner).parameters.items()][1:]:
        kind = eval(parameter.annotation, names)  # noqa: S307 - our own annotations
        fields = getattr(kind, "_fields", None)
        parameters |= {name: kind} if fields is None else get_type_hints(kind)
    return parameters


def given(option: click.Parameter) -> object:
    """Return the type of the values that an option gives."""
    if isinstance(option.type, click.Path):
        return Path
    if isinstance(option.type, options.Parsed):
        return int
    return {"text": str, "choice": str}.get(option.type.name) or {
        "integer": int, "integer range": int, "float": float, "boolean": bool
    }[option.type.name]  # fmt: skip


@pytest.mark.parametrize("command_name", ALL)
def test_each_function_takes_what_its_options_give(command_name: str) -> None:
    """Names and types: mypy looks into the function, and click alone knows what it is called with."""
    command = ALL[command_name]
    assert command.callback is not None
    annotations = taken(command.callback)
    parameters = {option.name: option for option in command.params if option.name != "log_format"}
    assert set(annotations) == set(parameters)
    for name, annotation in annotations.items():
        option = parameters[name]
        assert kind_of(annotation) is given(option), name
        several = option.multiple if isinstance(option, click.Option) else option.nargs == -1
        assert (get_origin(annotation) is tuple) is several, name
        always = several or option.required or option.to_info_dict()["default"] is not None
        assert always or type(None) in get_args(annotation), name


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("promot", "fraud: no such command 'promot' (did you mean `promote`?); see `fraud --help`"),
        ("release pomote", "fraud release: no such command 'pomote'; see `fraud release --help`"),
        ("release shaddow", "(did you mean `shadow` or `show`?); see `fraud release --help`"),
        ("serve --stat s.db", "fraud serve: no such option '--stat' (did you mean `--state`"),
        ("train --rounds 3", "fraud train: no such option '--rounds'; see `fraud train --help`"),
        ("run --source", "fraud run: option '--source' requires an argument; see `fraud run --help`"),
        ("release", "fraud release: missing command; see `fraud release --help`"),
        ("serve --workers 65", "fraud serve: invalid value for '--workers': 65 is not in the range"),
        ("logs --since soon", "expected a duration such as '5m', '12h' or '7d', got 'soon'"),
        ("compare --as-of soon", "expected a day or a time such as 2026-03-01T12:00Z, got 'soon'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_what_was_probably_meant(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert sentence in err


def test_a_shell_completes_commands_and_options_without_running_them(tmp_path: Path) -> None:
    for typed, position, expected in (("fraud ser", "1", "serve"), ("fraud serve --sta", "2", "--state")):
        environment = {"_FRAUD_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": position}
        done = subprocess.run(  # noqa: S603 - our own command
            [Path(sys.executable).with_name("fraud")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"plain,{expected}" in done.stdout.splitlines()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=[name for name, _ in commands()])
def test_help_shows_every_default_in_one_way(name: str, command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=name, show_default=True))
    assert "[default: (" not in text
    assert not re.search(r"\((none|unlimited|no limit|\d[\d,]*)\)\.", text)


def test_help_says_what_holds_where_an_option_is_not_given() -> None:
    found = dict(commands())
    for name, default in {
        "serve": "build/bundle",
        "compare": "the only shadow",
        "api-key": "unlimited",
    }.items():
        text = found[name].get_help(click.Context(found[name], info_name=name, show_default=True))
        assert f"[default: {default}]" in " ".join(text.split())
