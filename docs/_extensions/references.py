"""Fills the pages that follow from code at each build, and makes targets of the anchors that GitHub knows.

A comment ``<!-- commands of line_plugin.cli -->`` becomes every command with its options, read from the program's own
parser. ``<a id="name"></a>`` in front of a heading becomes a target that links are checked against, and a link to
``CONTRIBUTING.md`` leads to the page that holds it.
"""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}


def fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    """One page."""
    text = re.sub(r'^<a id="([\w-]+)"></a>\n', r"(\1)=\n\n", source[0], flags=re.MULTILINE)
    text = re.sub(r"\]\((?:\.\./)+CONTRIBUTING\.md", "](/contributing.md", text)
    source[0] = re.sub(r"<!-- commands of ([\w.]+) -->", lambda found: commands(found[1]), text)


def commands(module: str) -> str:
    """Every command of a program, in the order of its help."""
    parser = importlib.import_module(module).parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    about = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}
    parts = [f"{sentence(parser.description)}\n"]
    for name, command in subparsers.choices.items():
        parts += [f"## `{parser.prog} {name}`\n", sentence(command.description or about.get(name, "")) + "\n"]
        parts += [f"```text\n{usage(command)}\n```\n", *rows(command), sentence(command.epilog)]
    return "\n".join(parts)


def usage(command: argparse.ArgumentParser) -> str:
    """How it is called, without each option."""
    wanted = [action for action in command._actions if not action.option_strings or action.required]
    return " ".join([command.prog, *map(called, wanted), "[OPTIONS]"])


def called(action: argparse.Action) -> str:
    """One argument as it is typed."""
    name = str(action.metavar or (action.dest if not action.option_strings else action.dest.upper()))
    if action.choices is not None and not action.metavar:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    if action.option_strings:
        return f"{action.option_strings[-1]} {name}" if action.nargs != 0 else action.option_strings[-1]
    return f"[{name} ...]" if action.nargs in {"*", "+"} else name


def rows(command: argparse.ArgumentParser) -> Iterator[str]:
    """A table of the arguments and options."""
    yield "| argument | what it does | default |\n|---|---|---|"
    for action in command._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        names = " ".join(f"`{name}`" for name in action.option_strings) or f"`{called(action)}`"
        if action.option_strings and action.nargs != 0:
            names += f" `{called(action).split(' ', 1)[1]}`"
        yield f"| {cell(names)} | {cell(explained(command, action))} | {cell(default(action))} |"
    yield ""


def explained(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help of an argument with its placeholders filled."""
    values: dict[str, Any] = {**vars(action), "prog": command.prog}
    return (action.help or "") % values


def default(action: argparse.Action) -> str:
    """The text for a default, unless it is nothing."""
    nothing = action.default in (None, False, [], "", argparse.SUPPRESS) or action.dest == "by"  # that is a login name
    return "" if nothing or not action.option_strings else f"`{action.default}`"


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;") or " "


def sentence(text: str | None) -> str:
    """A description as it is, or an empty line."""
    return " ".join((text or "").split()).replace("<", "&lt;")
