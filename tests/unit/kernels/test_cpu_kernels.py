"""The compiled scoring kernel: the torch path's numbers, and for each row the same bits in every batch."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from line_plugin import ClassSums, LINeSettings
from line_plugin.kernels import cpu
from line_plugin.kernels.cpu.blocked import layout
from line_plugin.kernels.scorer import Scorer
from line_plugin.math.masks import percentile
from line_plugin.method.fit import Fitted

host = pytest.importorskip("line_plugin.kernels.cpu.blocked.host", reason="numba is not installed")

# One tile with partial sums side by side, one tile of a single sum, and two tiles.
CLASSES = st.sampled_from([1, 2, 10, 16, 100, 260])


def head(k: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight, bias and floors with every kind of neuron: masked, free, compared."""
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(k, d, generator=g)
    floors = torch.randn(k, d, generator=g)
    kind = torch.rand(k, d, generator=g)
    floors[kind < 0.2] = torch.inf
    floors[kind > 0.8] = -torch.inf
    return weight, torch.randn(k, generator=g), floors


def rows(n: int, d: int, seed: int) -> torch.Tensor:
    """Behind a ReLU for some rows, without any zero for others, negative for a few."""
    g = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(n, d, generator=g)
    return torch.where(torch.rand(n, 1, generator=g) < 0.5, x.relu(), x.abs() - 0.01)


def without_numba(monkeypatch: pytest.MonkeyPatch, *tensors: torch.Tensor) -> Scorer:
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "installed", lambda: False)
        scorer = Scorer(*tensors)
    assert scorer.packed() is None
    return scorer


@pytest.fixture
def threads() -> object:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@settings(deadline=None, max_examples=30)
@given(k=CLASSES, d=st.integers(1, 300), n=st.integers(1, 130), seed=st.integers(0, 999), clip=st.booleans())
def test_a_row_alone_has_the_bits_it_has_in_any_batch(k: int, d: int, n: int, seed: int, clip: bool) -> None:
    scorer, x, delta = Scorer(*head(k, d, seed)), rows(n, d, seed), 0.8 if clip else None
    classes, confidence = scorer.predict(x, delta)
    alone = [scorer.predict(row[None], delta) for row in x]
    assert torch.equal(torch.cat([c for c, _ in alone]), classes)
    assert torch.equal(torch.cat([s for _, s in alone]), confidence)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    shuffled = scorer.predict(x[order], delta)
    assert torch.equal(shuffled[0], classes[order])
    assert torch.equal(shuffled[1], confidence[order])


@pytest.mark.parametrize(("k", "d"), [(10, 342), (100, 342), (260, 2048)])
def test_batch_size_and_threads_do_not_change_a_bit(k: int, d: int, threads: object) -> None:
    scorer, x = Scorer(*head(k, d, 3)), rows(4096, d, 3)
    threads(1)
    classes, confidence = scorer.predict(x, 1.0)
    for count in (1, 2):
        threads(count)
        for size in (37, 64, 1000, 4096):
            parts = [scorer.predict(x[i : i + size], 1.0) for i in range(0, 4096, size)]
            assert torch.equal(torch.cat([c for c, _ in parts]), classes)
            assert torch.equal(torch.cat([s for _, s in parts]), confidence)


@settings(deadline=None, max_examples=60)
@given(k=CLASSES, d=st.integers(1, 300), seed=st.integers(0, 999))
def test_kernel_equals_the_dense_products_in_float64(k: int, d: int, seed: int) -> None:
    tensors, x = head(k, d, seed), rows(40, d, seed)
    classes, confidence = Scorer(*tensors).predict(x, 0.8)
    with pytest.MonkeyPatch.context() as patch:
        slow = without_numba(patch, *(t.double() for t in tensors))
        expected_classes, expected = slow.predict(x.clamp(max=0.8).double(), None)
    assert torch.equal(classes, expected_classes)
    torch.testing.assert_close(confidence.double(), expected, atol=1e-5, rtol=1e-5)


def exact_classes(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One row and one class at a time in float64, correctly rounded sums; the first of equal logits."""
    rows = [[w * v for w, v in zip(line, row, strict=True)] for row in x.double().numpy() for line in weight.double()]
    sums = np.array([math.fsum(float(v) for v in row) for row in rows]).reshape(len(x), len(weight))
    return torch.from_numpy((sums + bias.double().numpy()).argmax(axis=1))


@pytest.mark.parametrize("k", [3, 70, 260])
@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5, 1e-2])
def test_class_is_the_exact_argmax_where_classes_are_alike(k: int, apart: float) -> None:
    g = torch.Generator().manual_seed(k)
    one, d = torch.randn(1, 97, generator=g), 97
    weight = one + apart * torch.randn(k, d, generator=g)
    weight[k // 2] = weight[k - 1]  # an exact tie: the lower class wins
    x, bias = torch.rand(20, d, generator=g), torch.zeros(k)
    classes, _ = Scorer(weight, bias, torch.zeros(k, d)).predict(x, None)
    assert torch.equal(classes, exact_classes(weight, bias, x))


@pytest.mark.parametrize("k", [3, 70])
@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-25, 1e-12, 1.0, 1e12, 1e17])
@pytest.mark.parametrize("outlier", [1.0, 1e6])
def test_class_is_the_exact_argmax_whatever_the_size_of_the_features(k: int, size: float, outlier: float) -> None:
    g = torch.Generator().manual_seed(1)
    weight, x = torch.randn(k, 50, generator=g), torch.randn(20, 50, generator=g) * size
    x[::2, 3] *= outlier
    bias = torch.zeros(k)
    classes, confidence = Scorer(weight, bias, torch.full((k, 50), -torch.inf)).predict(x, None)
    assert torch.equal(classes, exact_classes(weight, bias, x))
    assert torch.isfinite(confidence).all()


@pytest.mark.parametrize(("k", "d"), [(2, 40), (30, 200), (100, 342), (260, 500)])
def test_rows_of_one_class_share_their_work_and_keep_their_bits(k: int, d: int) -> None:
    weight, bias, floors = head(k, d, 7)
    scorer = Scorer(weight, bias, floors)
    g = torch.Generator().manual_seed(0)
    few = torch.randint(0, min(k, 3), (150,), generator=g)
    x = torch.rand(150, d, generator=g) * 0.1 + weight[few].relu()
    x[:20] += 0.01  # no zeros at all
    x[20:40] *= torch.rand(20, d, generator=g) < 0.3  # hardly anything but zeros
    classes, confidence = scorer.predict(x, 2.0)
    assert classes.unique().numel() <= 3
    assert torch.equal(torch.cat([scorer.predict(row[None], 2.0)[1] for row in x]), confidence)


@pytest.mark.skipif(not host.BYTES, reason="this CPU has no product of bytes: float32 screens the classes anyway")
def test_screening_by_float32_gives_the_same_bits_as_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, x = head(100, 130, 2), rows(70, 130, 2)
    in_bytes = Scorer(*tensors)
    expected = in_bytes.predict(x, 1.0)
    assert in_bytes.packed().screen[0].size > 0
    monkeypatch.setattr(host, "BYTES", False)
    in_floats = Scorer(*tensors)
    got = in_floats.predict(x, 1.0)
    assert in_floats.packed().screen[0].size == 0
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


@given(k=st.integers(1, 40), d=st.integers(1, 60), seed=st.integers(0, 999), size=st.sampled_from([1e-20, 1.0, 1e9]))
def test_a_logit_of_bytes_is_as_close_as_the_screen_says(k: int, d: int, seed: int, size: float) -> None:
    g = np.random.default_rng(seed)
    weight, z = (g.normal(size=(k, d)) * size).astype(np.float32), g.normal(size=d)
    screen = layout.screen(weight, 16, True)
    step = np.abs(z).max() / 127
    q = np.rint(z / step)
    count, steps = screen.packed.shape[:2]
    w = screen.packed.transpose(0, 2, 1, 3).reshape(count * 16, 4 * steps)[:k, :d].astype(np.int64)
    got = (w @ (q + 128) - screen.offset[:k]) * screen.scale[:k] * step
    bound = screen.rounding[:k] * np.linalg.norm(step * q) + screen.norm[:k] * np.linalg.norm(z - step * q)
    assert (np.abs(got - weight.astype(np.float64) @ z) <= bound * (1 + 1e-6) + 1e-6 * size).all()


def test_without_numba_torch_scores_to_1e_5(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, x = head(100, 64, 0), rows(50, 64, 0)
    got = without_numba(monkeypatch, *tensors).predict(x, 1.0)
    expected = Scorer(*tensors).predict(x, 1.0)
    assert torch.equal(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1], atol=1e-5, rtol=1e-5)


def test_a_numba_that_cannot_be_imported_is_said_and_torch_scores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("numba needs an older numpy")

    monkeypatch.setattr(cpu.plain, "_compiled", broken)
    monkeypatch.setattr(cpu.packed, "_pack", lambda *_: broken())
    tensors, x = head(10, 8, 0), rows(5, 8, 0)
    assert torch.isfinite(Scorer(*tensors).predict(x, None)[1]).all()
    assert "numba needs an older numpy" in caplog.text


class Wrong:
    """A fast kernel as a broken compiler would make it."""

    def __init__(self, head: cpu.PackedHead, fault: str) -> None:
        self.head, self.fault = head, fault

    def predict(self, x: np.ndarray, delta: float | None) -> tuple[np.ndarray, np.ndarray]:
        classes, confidence = self.head.predict(x, delta)
        if self.fault == "class":
            classes = classes.copy()
            classes[-1] = (classes[-1] + 1) % self.head.head[0].shape[0]
        if self.fault == "confidence":
            confidence = confidence + np.float32(0.01)
        if self.fault == "not a number":
            confidence = confidence * np.float32(np.nan)
        if self.fault == "batch":
            confidence = confidence * np.float32(1 + 1e-7 * len(x))
        return classes, confidence


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("class", "predicts class"),
        ("confidence", "are off by up to"),
        ("not a number", "are off by up to"),
        ("batch", "other bits in another batch"),
        ("raises", "LoweringError: no such intrinsic"),
    ],
)
@pytest.mark.parametrize("k", [10, 100])
def test_a_broken_kernel_is_replaced_by_the_plain_one_with_one_warning(
    fault: str, said: str, k: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.errors import LoweringError

    def pack(*arrays: np.ndarray) -> Wrong:
        if fault == "raises":
            raise LoweringError("no such intrinsic")
        return Wrong(good(*arrays), fault)

    good, tensors, x = cpu.packed._pack, head(k, 64, 0), rows(50, 64, 0)
    expected = Scorer(*tensors).predict(x, 1.0)
    monkeypatch.setattr(cpu.packed, "_pack", pack)
    scorer = Scorer(*tensors)
    found = scorer.predict(x, 1.0)
    scorer.predict(x, 1.0)
    assert isinstance(scorer.packed(), cpu.PlainHead)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(torch.cat([scorer.predict(row[None], 1.0)[1] for row in x]), found[1])
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert said in warnings[0]


@settings(deadline=None, max_examples=40)
@given(k=CLASSES, d=st.integers(1, 300), seed=st.integers(0, 999))
def test_the_self_test_passes_every_right_kernel(k: int, d: int, seed: int) -> None:
    assert isinstance(Scorer(*head(k, d, seed)).packed(), cpu.PackedHead)


@pytest.mark.parametrize("openmp", [True, False])
def test_bits_do_not_depend_on_whose_threads_score(openmp: bool, threads: object, monkeypatch: object) -> None:
    scorer, x = Scorer(*head(100, 130, 3)), rows(500, 130, 3)
    threads(1)
    expected = scorer.predict(x, 1.0)
    if not openmp:
        monkeypatch.setattr(cpu.team, "_openmp", lambda: None)
    for count in (2, 3, 5):
        threads(count)
        found = scorer.predict(x, 1.0)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_what_a_task_raises_on_another_thread_reaches_the_caller(threads: object) -> None:
    def task(first: int, _last: int) -> None:
        if first:
            raise ValueError("the second span")

    threads(2)
    with pytest.raises(ValueError, match="the second span"):
        cpu.team.each_span(64, task)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_scores_with_threads_of_its_own() -> None:
    code = (
        "import os, sys, torch; sys.path.insert(0, 'tests/unit/kernels'); torch.set_num_threads(2)\n"
        "from test_cpu_kernels import head, rows\n"
        "from line_plugin.kernels.scorer import Scorer\n"
        "scorer, x = Scorer(*head(10, 64, 0)), rows(200, 64, 0); before = scorer.predict(x, 1.0)[1]\n"
        "child = os.fork()\n"
        "if not child: os._exit(0 if scorer.predict(x, 1.0)[1].tolist() == before.tolist() else 1)\n"
        "print('child', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert "child 0" in run_python(code)


@pytest.mark.slow
def test_kernel_scores_where_no_folder_can_hold_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from line_plugin.kernels.cpu import compiling, kept
    from line_plugin.kernels.cpu.blocked import job

    def refuse(*types: object, cache: bool = False) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(*types)

    plain = numba.cfunc
    tensors, x = head(10, 8, 0), rows(5, 8, 0)
    expected = Scorer(*tensors).predict(x, None)[1]
    monkeypatch.setattr(numba, "cfunc", refuse)
    monkeypatch.setattr(job, "compiled", job.compiled.__wrapped__)
    monkeypatch.setattr(compiling, "function", compiling.function.__wrapped__)
    monkeypatch.setattr(kept, "read", lambda *_: None)
    monkeypatch.setattr(kept, "write", lambda *_: False)
    scorer = Scorer(*tensors)
    assert torch.equal(scorer.predict(x, None)[1], expected)
    assert isinstance(scorer.packed(), cpu.PackedHead)


def test_first_calls_from_many_threads_agree() -> None:
    scorer, x = Scorer(*head(100, 64, 5)), rows(64, 64, 5)
    with ThreadPoolExecutor(8) as pool:
        scores = [f.result()[1] for f in [pool.submit(scorer.predict, x, 1.0) for _ in range(32)]]
    assert all(torch.equal(s, scores[0]) for s in scores)


@pytest.mark.slow
def test_state_beyond_an_imagenet_head_is_at_most_40_mb() -> None:
    k, d = 1000, 2048
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(k, d, generator=g) * 0.05
    sums = ClassSums(torch.rand(k, d, generator=g, dtype=torch.float64), torch.ones(k, dtype=torch.int64))
    # Given thresholds: the percentiles of 1000 classes are the slow part and no matter here.
    thresholds = torch.full((k,), -0.03, dtype=torch.float64)
    state = Fitted.make(weight, None, sums, LINeSettings(10, 10, 0.8), thresholds=thresholds)
    state.scorer.predict(torch.rand(2, d, generator=g), 0.8)
    packed = state.scorer.packed()
    assert packed is not None
    held = [state.sums.sums, state.sums.counts, state.thresholds, state.floors]
    assert packed.head[0].ctypes.data == state.weight.data_ptr()
    assert packed.head[3].ctypes.data == state.floors.data_ptr()
    assert sum(t.nbytes for t in held) + packed.own_bytes <= 40e6


def run_python(code: str, **environment: str) -> str:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "OMP_NUM_THREADS": "1", **environment},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the narrower vectors are those of x86-64")
def test_narrower_vectors_give_the_dense_products_too(tmp_path: Path) -> None:
    code = (
        "import sys, torch; sys.path.insert(0, 'tests/unit/kernels')\n"
        "from test_cpu_kernels import head, rows\n"
        "from line_plugin.kernels.scorer import Scorer\n"
        "from line_plugin.kernels.cpu.blocked import host\n"
        "from line_plugin.kernels import torch_ops\n"
        "tensors, x = head(70, 101, 4), rows(33, 101, 4)\n"
        "classes, confidence = Scorer(*tensors).predict(x, 0.8)\n"
        "expected = torch_ops.score(x.clamp(max=0.8), *tensors)\n"
        "assert torch.equal(classes, expected[0])\n"
        "torch.testing.assert_close(confidence, expected[1], atol=1e-5, rtol=1e-5)\n"
        "print('lanes', host.LANES, 'bytes', host.BYTES)"
    )
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+popcnt"}
    assert "lanes 8 bytes False" in run_python(code, NUMBA_CACHE_DIR=str(tmp_path), **narrow)


def test_numba_is_not_imported_before_the_first_score() -> None:
    code = "import sys, line_plugin, line_plugin.method.line, line_plugin.cli; print('numba' in sys.modules)"
    assert run_python(code).strip() == "False"


@pytest.mark.slow
def test_compiling_is_said_and_done_once_a_machine(tmp_path: Path) -> None:
    code = (
        "import logging, torch; logging.basicConfig(level=logging.INFO)\n"
        "from line_plugin.kernels.scorer import Scorer\n"
        "from line_plugin.kernels.cpu.blocked import job\n"
        "scorer = Scorer(torch.randn(3, 4), torch.zeros(3), torch.zeros(3, 4)); scorer.predict(torch.rand(2, 4), 1.0)\n"
        "print('hits', job.compiled(scorer.packed().head[1].shape[2]).cache_hits)"
    )
    first = run_python(code, NUMBA_CACHE_DIR=str(tmp_path))
    assert "loading the scoring kernel" in first
    assert "hits 0" in first
    assert "hits 1" in run_python(code, NUMBA_CACHE_DIR=str(tmp_path))


@settings(deadline=None, max_examples=100)
@given(
    n=st.integers(1, 100_000),
    p=st.one_of(st.sampled_from([0, 10, 50, 90, 100]), st.floats(0, 100)),
    seed=st.integers(0, 999),
    digits=st.sampled_from([0, 1, 17]),
    ordered=st.booleans(),
)
def test_percentile_is_numpys_bit_for_bit(n: int, p: float, seed: int, digits: int, ordered: bool) -> None:
    values = np.random.default_rng(seed).normal(size=n).round(digits)
    if ordered:
        values.sort()
    assert percentile(values, p) == np.percentile(values, p)
