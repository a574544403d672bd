"""Compiled kernels on disk: the bits of numba without numba, and files that are not trusted."""

from __future__ import annotations

import logging
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from line_plugin.kernels import cpu
from line_plugin.kernels.cpu import compiling, kept, linked, team

pytestmark = [
    pytest.mark.skipif(not cpu.installed(), reason="numba is not installed"),
    pytest.mark.skipif(sys.platform != "linux", reason="code is kept on Linux alone"),
]

ROOT = Path(__file__).parents[3]
CODE = kept.Code("function", ["memcpy"], b"machine code")


def head(k: int, d: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(k)
    weight, bias = rng.standard_normal((k, d), np.float32), rng.standard_normal(k).astype(np.float32)
    floors = np.where(rng.random((k, d)) < 0.2, np.inf, -0.1).astype(np.float32)
    return weight, bias, floors


@pytest.fixture(scope="module")
def scorer_of_ten_classes() -> kept.Code:
    """As it is kept on this machine; compiled if it is not kept yet."""
    cpu.pack(*head(10, 64))
    from line_plugin.kernels.cpu.blocked import host, layout

    width = layout.tile_width(10, host.LANES, host.WIDEST)
    code = kept.read(f"scorer-{width}") or compiling._compile_apart("scorer", width, f"scorer-{width}")
    assert code is not None
    return code


def test_a_process_without_numba_scores_with_the_bits_of_numbas_own_code(scorer_of_ten_classes: kept.Code) -> None:
    from line_plugin.kernels.cpu.blocked import job

    packed = cpu.pack(*head(10, 64))
    assert isinstance(packed, cpu.PackedHead)
    rows = np.random.default_rng(1).random((300, 64), np.float32)
    own = job.compiled(packed.head[1].shape[2])
    by_numba = cpu.PackedHead(team.Native(own.address), packed.head, packed.screen, packed.job).predict(rows, 0.8)
    linked_again = linked.link(scorer_of_ten_classes)
    assert linked_again != own.address
    found = cpu.PackedHead(team.Native(linked_again), packed.head, packed.screen, packed.job).predict(rows, 0.8)
    assert found[0].tolist() == by_numba[0].tolist()
    assert found[1].tobytes() == by_numba[1].tobytes()

    code = (
        "import sys, numpy as np\nsys.path.insert(0, 'tests/unit/kernels')\n"
        "from test_kept_kernels import head\nfrom line_plugin.kernels import cpu\n"
        "packed = cpu.pack(*head(10, 64)); rows = np.random.default_rng(1).random((300, 64), np.float32)\n"
        "print(packed.predict(rows, 0.8)[1].tobytes().hex(), 'numba' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [by_numba[1].tobytes().hex(), "False"]


def test_code_is_read_as_it_was_written_and_under_no_other_name(tmp_path: Path) -> None:
    assert kept.write("scorer-16", CODE, [tmp_path / "new" / "folder"])
    assert kept.read("scorer-16", [tmp_path, tmp_path / "new" / "folder"]) == CODE
    assert kept.read("scorer-32", [tmp_path / "new" / "folder"]) is None
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_code_that_others_may_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    kept.write("scorer-16", CODE, [tmp_path])
    (file,) = tmp_path.iterdir()
    file.chmod(mode)
    assert kept.read("scorer-16", [tmp_path]) is None


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a file away")
def test_code_of_another_user_is_not_used(tmp_path: Path) -> None:
    kept.write("scorer-16", CODE, [tmp_path])
    (file,) = tmp_path.iterdir()
    os.chown(file, 12345, 12345)
    assert kept.read("scorer-16", [tmp_path]) is None


@pytest.mark.parametrize("change", ["cut short", "one byte", "no header", "longer than code can be", "a folder"])
def test_a_file_that_is_not_what_was_written_is_not_used(tmp_path: Path, change: str) -> None:
    kept.write("scorer-16", CODE, [tmp_path])
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if change == "a folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(
            {
                "cut short": content[:-1],
                "one byte": content[:-1] + b"E",
                "no header": b"machine code",
                "longer than code can be": content + bytes(5 << 20),
            }[change]
        )
    assert kept.read("scorer-16", [tmp_path]) is None


def test_code_is_only_used_with_the_source_the_cpu_and_the_settings_that_it_was_compiled_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        kept.sources.cache_clear()
        kept._circumstances.cache_clear()
        return kept._key("scorer-16")

    changed = tmp_path / "blocked"
    shutil.copytree(kept._SOURCES, changed, ignore=shutil.ignore_patterns("__pycache__"))
    before, keys = key(), []
    try:
        with monkeypatch.context() as m:
            m.setenv("NUMBA_CACHE_DIR", str(tmp_path))
            assert key() == before, "where code is kept does not change it"
            m.setenv("NUMBA_OPT", "0")
            keys.append(key())
        with monkeypatch.context() as m:
            m.setenv("NUMBA_CPU_FEATURES", "+sse4.2,+avx,+avx2,+fma")
            keys.append(key())
        with monkeypatch.context() as m:
            m.setattr(kept, "_SOURCES", changed)
            assert key() == before
            masked = changed / "masked.py"
            masked.write_text(masked.read_text().replace("1.44269504", "1.44269505"))
            keys.append(key())
        with monkeypatch.context() as m:
            m.setattr(kept, "_version_of_numba", lambda: "another")
            keys.append(key())
        assert len({before, *keys}) == 5
    finally:
        assert key() == before


def test_a_name_that_is_not_there_is_refused_before_llvm_would_end_the_process() -> None:
    with pytest.raises(RuntimeError, match="needs no_such_function_anywhere, which this process does not have"):
        linked.link(kept.Code("function", ["memcpy", "no_such_function_anywhere"], b""))


def test_the_names_that_code_needs_are_found_in_its_object_file(scorer_of_ten_classes: kept.Code) -> None:
    assert {"NRT_MemInfo_alloc_aligned", "log", "numba_gil_ensure"} <= set(scorer_of_ten_classes.needs)
    assert scorer_of_ten_classes.symbol not in scorer_of_ten_classes.needs
    assert linked.undefined(scorer_of_ten_classes.data) == list(scorer_of_ten_classes.needs)
    for broken in (b"", b"MZ", scorer_of_ten_classes.data[:100]):
        with pytest.raises((ValueError, struct.error)):
            linked.undefined(broken)


def test_if_kept_code_cannot_be_loaded_numba_scores_and_the_log_says_what_that_costs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scorer_of_ten_classes: kept.Code
) -> None:
    from line_plugin.kernels.cpu.blocked import host, job, layout

    def refuse(code: kept.Code) -> int:
        raise RuntimeError("the object file needs numba_new_helper, which this process does not have")

    monkeypatch.setattr(linked, "link", refuse)
    width = layout.tile_width(10, host.LANES, host.WIDEST)
    with caplog.at_level(logging.INFO):
        assert compiling.function.__wrapped__("scorer", width) == job.compiled(width).address
    assert "needs numba_new_helper" in caplog.text
    assert "90 MB" in caplog.text


@pytest.mark.slow
def test_a_process_without_torch_lets_another_one_compile_and_the_next_start_finds_the_code(tmp_path: Path) -> None:
    code = (
        "import logging, sys; sys.path.insert(0, 'tests/unit/kernels')\n"
        "from test_kept_kernels import head\n"
        "from line_plugin.kernels import cpu\nfrom line_plugin.kernels.cpu import compiling\n"
        "asked = []; compiling._compile_apart = lambda *a, f=compiling._compile_apart: asked.append(a) or f(*a)\n"
        "packed = cpu.pack(*head(3, 8))\n"
        "print(type(packed).__name__, len(asked), 'numba' in sys.modules)\n"
    )
    for times in (1, 0):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["PackedHead", str(times), "False"]
    assert [p.suffix for p in tmp_path.iterdir()] == [".kernel"], "numba's own cache is thrown away"
