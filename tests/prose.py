"""Counts what makes prose hard to read, in pages (``*.md``) and in code (docstrings, comments, strings).

``python -m tests.prose`` counts README.md, docs, line_plugin and monitor. ``--list where`` prints each place with its
sentence, ``--files`` counts file by file. The words to avoid stand in ``docs/glossary.md``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
AREAS = ("README.md", "docs", "line_plugin", "monitor")
LONG, SHORT = 35, 4

# `where` is a place after one of these words, before `to`, in a question, and before a verb that only places have.
_PLACE = re.compile(
    r"\b(?:from|know|knows|knew|see|shows?|names?|says?|finds?|found|asks?|place|places|folder|file|page|line|machine|"
    r"point|position|column|address|exactly|of|and|or|matter|is|are|the|than|goes on|went on)\s+where\b|"
    r"\bwhere(?:\s+(?:to|is|are|does|do)\b|:)|"
    r"\bwhere\s+(?:\w+\s+){1,3}(?:goes|begins?|began|comes? from|stood|stands?|belongs?|ends?|ended|lies?|was)\b",
    re.IGNORECASE,
)
_KINDS = {
    "where": re.compile(r"\bwhere\b", re.IGNORECASE),
    "is no": re.compile(
        r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|fewer\b|need\b|different\b)", re.IGNORECASE
    ),
    "inverted": re.compile(r"^(?:Of (?:a|an|the|what|those|these|each|every)|What (?!to\b|is\b|are\b)|Whoever)\b"),
}


@dataclass(frozen=True)
class Piece:
    """One run of prose: a paragraph, a cell of a table, a docstring, a comment or a string."""

    line: int
    text: str
    running: bool
    """Whether its sentences are meant to be whole: a cell or a heading is not counted in lengths."""


def pieces_of_page(text: str) -> Iterator[Piece]:
    """The prose of a page in Markdown, without code."""
    fenced, begun, gathered = False, 0, list[str]()

    def flush() -> Iterator[Piece]:
        if gathered:
            yield Piece(begun, plain(" ".join(gathered)), running=True)
            gathered.clear()

    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith(("```", "~~~")):
            yield from flush()
            fenced = not fenced
        elif fenced:
            continue
        elif not bare or bare.startswith(("#", "<", "|", "![")):
            yield from flush()
            for cell in bare.strip("|#").split(" | ") if bare.startswith(("|", "#")) else []:
                if re.search(r"[A-Za-z]", cell):
                    yield Piece(number, plain(cell), running=False)
        else:
            if re.match(r"(?:[-*+]|\d+\.)\s", bare):
                yield from flush()
                bare = re.sub(r"^(?:[-*+]|\d+\.)\s+", "", bare)
            begun = begun if gathered else number
            gathered.append(bare.removeprefix("> "))
    yield from flush()


def pieces_of_code(text: str) -> Iterator[Piece]:
    """The docstrings, comments and messages of a Python file."""
    tree = ast.parse(text)
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                documented.add(first.value)
                for offset, part in paragraphs(first.value.value):
                    yield Piece(first.lineno + offset, plain(part), running=True)
    yield from strings(tree, documented)
    yield from comments(text)


def paragraphs(docstring: str) -> Iterator[tuple[int, str]]:
    """Each paragraph with the line it begins on; each entry under `Args:` is one. Examples are left out."""
    found, begun = list[str](), 0
    entries: int | None = None
    for number, line in enumerate([*docstring.splitlines(), ""]):
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        heading = bare in {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:", "Example:"}
        if not bare:
            entries = None
        if found and (heading or indent == entries or bare.startswith(("* ", "- "))):
            yield begun, " ".join(found)
            found = []
        if heading:
            entries = indent + 4
        elif bare and not bare.startswith((">>>", "...")):
            begun = begun if found else number
            found.append(bare)
        elif found:
            yield begun, " ".join(found)
            found = []


def strings(tree: ast.AST, documented: set[ast.Constant]) -> Iterator[Piece]:
    """Strings that read like a sentence: four words or more, and hardly a sign that is not a letter."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            if node in documented:
                continue
            text = node.value
        else:
            continue
        letters = sum(letter.isalpha() or letter.isspace() or letter in ".,:;'" for letter in text)
        if len(words(text)) >= 4 and letters > 0.85 * len(text):
            yield Piece(node.lineno, plain(text), running=len(words(text)) > 6)


def comments(text: str) -> Iterator[Piece]:
    """Comments; those on lines of their own that follow each other are one."""
    gathered, begun, last = list[str](), 0, -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or re.match(r"#\s*(?:type:|noqa|fmt:|!)", token.string):
            continue
        if token.start[0] != last + 1 and gathered:
            yield Piece(begun, plain(" ".join(gathered)), running=True)
            gathered = []
        begun = begun if gathered else token.start[0]
        last = token.start[0] if token.line.lstrip().startswith("#") else -1
        gathered.append(token.string.lstrip("# "))
    if gathered:
        yield Piece(begun, plain(" ".join(gathered)), running=True)


def plain(text: str) -> str:
    """The text as it is read: code is one word, a link is its words."""
    text = re.sub(r"``[^`]+``|`[^`]+`|:\w+:`[^`]+`", "CODE", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("**", "").replace("*", "")).strip()


def sentences(text: str) -> list[str]:
    """The sentences of a piece; a full stop within e.g. `i.e.` ends none."""
    return [part for part in re.split(r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<=[.!?])\s+(?=[A-Z(\"])", text) if part]


def words(text: str) -> list[str]:
    """Words, numbers left out."""
    return re.findall(r"[A-Za-z][\w'-]*", text)


def avoided(glossary: Path = ROOT / "docs/glossary.md") -> dict[str, re.Pattern[str]]:
    """The words that the glossary says not to write: the backticks in the first column under `Words to avoid`."""
    part = glossary.read_text(encoding="utf-8").split("## Words to avoid\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in part.splitlines() if row.startswith("| `")]
    found = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    return {word: re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE) for word in found}


def find(piece: Piece, forbidden: dict[str, re.Pattern[str]]) -> Iterator[tuple[str, str]]:
    """Each fault of a piece with the sentence it stands in."""
    for sentence in sentences(piece.text):
        for kind, pattern in _KINDS.items():
            if kind == "inverted" and not piece.running:
                continue
            hits = len(pattern.findall(sentence))
            if kind == "where":
                bare_cell = not piece.running and sentence.startswith("where")
                hits = max(0, hits - len(_PLACE.findall(sentence)) - bare_cell)
            yield from ((kind, sentence) for _ in range(hits))
        for word, pattern in forbidden.items():
            yield from ((f"word {word}", sentence) for _ in pattern.findall(sentence))
        if piece.running and len(words(sentence)) > LONG:
            yield "long", sentence
        if piece.running and len(words(sentence)) <= SHORT and sentence.endswith("."):
            yield "short", sentence


@dataclass
class Count:
    """What was counted in some files."""

    words: int = 0
    sentences: int = 0
    in_sentences: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def mean(self) -> float:
        """Words a sentence, on average."""
        return self.in_sentences / max(1, self.sentences)


def pages(place: Path) -> list[Path]:
    """The files of a place that hold prose."""
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.suffix in {".md", ".py"} and "_build" not in path.parts)


def count(path: Path, forbidden: dict[str, re.Pattern[str]], into: Count) -> list[tuple[str, int, str]]:
    """Adds a file to a count; returns its faults as kind, line and sentence."""
    text = path.read_text(encoding="utf-8")
    faults = []
    for piece in (pieces_of_page if path.suffix == ".md" else pieces_of_code)(text):
        into.words += len(words(piece.text))
        if piece.running:
            into.sentences += len(sentences(piece.text))
            into.in_sentences += len(words(piece.text))
        for kind, sentence in find(piece, forbidden):
            into.faults[kind] += 1
            faults.append((kind, piece.line, sentence))
    return faults


def count_of(path: Path) -> Count:
    """The counts of one file."""
    total = Count()
    count(path, avoided(), total)
    return total


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the counts."""
    options = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    options.add_argument("places", nargs="*", default=[str(ROOT / area) for area in AREAS], help="files and folders")
    options.add_argument("--list", metavar="KIND", help="print each: where, 'is no', inverted, long, short, or a word")
    options.add_argument("--files", action="store_true", help="count file by file")
    chosen = options.parse_args(argv)
    forbidden = avoided()
    rows: list[tuple[str, Count]] = []
    for place in map(Path, chosen.places):
        total = Count()
        for path in pages(place):
            into = Count() if chosen.files else total
            for kind, line, sentence in count(path, forbidden, into):
                if chosen.list and chosen.list in {kind, kind.removeprefix("word ")}:
                    sys.stdout.write(f"{path}:{line}: {sentence}\n")
            if chosen.files:
                rows.append((str(path), into))
        if not chosen.files:
            rows.append((place.name, total))
    if chosen.list is None:
        sys.stdout.write(table(rows))


def table(rows: Sequence[tuple[str, Count]]) -> str:
    """The counts, one place a line, and the words to avoid that occur."""
    width = max(len(name) for name, _ in rows)
    kinds = [*_KINDS, "long", "short"]
    lines = [
        f"{'':{width}}  {'words':>7} {'a sentence':>10}" + "".join(f"{kind:>9}" for kind in kinds) + f"{'avoid':>9}"
    ]
    for name, one in rows:
        avoid = sum(number for kind, number in one.faults.items() if kind.startswith("word "))
        cells = "".join(f"{one.faults[kind]:>9}" for kind in kinds)
        lines.append(f"{name:{width}}  {one.words:>7,} {one.mean:>10.1f}{cells}{avoid:>9}")
    found = sum((one.faults for _, one in rows), Counter[str]())
    named = ", ".join(f"{kind[5:]} {number}" for kind, number in found.most_common() if kind.startswith("word "))
    notes = (
        f"where: `where` for `if`; long: over {LONG} words; short: {SHORT} words at most; inverted: begins with "
        f"`Of the`, `What ...`, `Whoever`\navoid (docs/glossary.md): {named}\n"
    )
    return "\n".join(lines) + "\n" + notes


if __name__ == "__main__":
    main()
