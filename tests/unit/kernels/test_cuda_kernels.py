"""The CUDA kernels: interpreted on the CPU and, where there is one, on a GPU; compiled for GPUs that are not here."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from line_plugin import PRESETS, ClassSums, LINe, LINeSettings
from line_plugin.kernels import scorer, torch_ops
from line_plugin.kernels.cuda import packed as cuda
from line_plugin.kernels.scorer import Scorer
from line_plugin.method.fit import Fitted
from tests import interpreted
from tests.oracle.literal_line import contribution_by_gradient, literal_score
from tests.unit.kernels.test_cpu_kernels import head, rows, run_python
from tests.unit.method.test_line_matches_oracle import SWITCHES, problem

pytestmark = pytest.mark.slow

SPLIT, WHOLE = 10**6, 1
"""Programs to fill a device: one that no test fills, so that the neurons are split, and one that any test does."""
SHAPES = [(1, 1, 1), (1, 7, 5), (3, 1, 0), (3, 500, 5), (10, 342, 20), (100, 7, 40), (100, 342, 1), (257, 500, 5)]

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
Run = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture(scope="module", params=[pytest.param("interpreted"), pytest.param("cuda", marks=pytest.mark.cuda)])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Scores by the kernels: ``(weight, bias, floors, features, delta, programs)``, CPU tensors in and out."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if request.param == "interpreted":
        with interpreted.interpreter() as pool:
            yield lambda *arguments: pool.submit(interpreted.score, *arguments).result()
        return
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")

    def on_device(*arguments: Any) -> tuple[Tensor, Tensor]:
        moved = [a.to("cuda") if isinstance(a, Tensor) else a for a in arguments]
        classes, confidence = interpreted.score(*moved)
        return classes.cpu(), confidence.cpu()

    yield on_device


def scored(run: Run, line: LINe, features: Tensor, programs: int) -> tuple[np.ndarray, np.ndarray]:
    s = line._state
    classes, confidence = run(s.weight, s.bias, s.floors, features, line.settings.clip, programs)
    return classes.numpy(), confidence.numpy()


def literal(line: LINe, features: Tensor, labels: Tensor, bias: Tensor, test: Tensor) -> tuple[np.ndarray, np.ndarray]:
    weight, s = line._state.weight.double().numpy(), line.settings
    c = contribution_by_gradient(features.numpy(), labels.numpy(), weight, bias.double().numpy())
    return literal_score(test.numpy(), c, weight, bias.double().numpy(), s.p_w, s.p_a, s.clip)


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_kernels_score_the_literal_reading_under_every_ablation(run: Run, switch: str) -> None:
    features, labels, weight, bias, test = problem(17, 31, seed=4)
    features[:, ::5] = 0  # dead neurons: no contribution
    line = LINe(*SWITCHES[switch]).fit_features(features, labels, weight, bias)
    classes, scores = literal(line, features, labels, bias, test)
    got_classes, got = scored(run, line, test, WHOLE)
    np.testing.assert_array_equal(got_classes, classes)
    np.testing.assert_allclose(got, scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("programs", [SPLIT, WHOLE], ids=["split", "whole"])
@pytest.mark.parametrize(("k", "d", "n"), SHAPES)
def test_kernels_score_the_literal_reading_of_odd_shapes(run: Run, k: int, d: int, n: int, programs: int) -> None:
    features, labels, weight, bias, test = problem(k, d, seed=k + d, n=max(n, 1))
    line = LINe.preset("imagenet-resnet50").fit_features(features, labels, weight, bias)
    classes, scores = literal(line, features, labels, bias, test)
    got_classes, got = scored(run, line, test[:n], programs)
    np.testing.assert_array_equal(got_classes, classes[:n])
    np.testing.assert_allclose(got, scores[:n], atol=1e-5, rtol=1e-5)


def test_a_row_has_the_same_bits_in_every_batch_and_however_neurons_are_split(run: Run) -> None:
    tensors, x = head(40, 100, 0), rows(21, 100, 0)
    classes, confidence = run(*tensors, x, 0.8, WHOLE)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    for programs in (SPLIT, WHOLE):
        shuffled = run(*tensors, x[order], 0.8, programs)
        assert torch.equal(shuffled[0], classes[order])
        assert torch.equal(shuffled[1], confidence[order])
        alone = run(*tensors, x[5:6], 0.8, programs)
        assert torch.equal(alone[1], confidence[5:6])


def test_a_batch_that_takes_several_passes_scores_as_in_one(run: Run) -> None:
    tensors, x = head(10, 8, 1), rows(40, 8, 1)
    one, several = run(*tensors, x, None, WHOLE), run(*tensors, x, None, WHOLE, 1)
    assert torch.equal(one[0], several[0])
    assert torch.equal(one[1], several[1])


def test_a_row_of_zeros_before_a_head_without_bias_is_of_the_lowest_class(run: Run) -> None:
    weight, _, floors = head(20, 12, 2)
    classes, confidence = run(weight, torch.zeros(20), floors, torch.zeros(2, 12), 1.0, WHOLE)
    assert classes.tolist() == [0, 0]
    torch.testing.assert_close(confidence, torch.full((2,), np.log(20).item()))


def test_where_every_weight_is_masked_the_biases_are_left(run: Run) -> None:
    weight, bias, floors = head(20, 9, 3)
    confidence = run(weight, bias, torch.full_like(floors, torch.inf), rows(4, 9, 3), 1.0, WHOLE)[1]
    torch.testing.assert_close(confidence, torch.logsumexp(bias, 0).expand(4))


def test_near_ties_are_decided_as_by_torch_in_float64(run: Run) -> None:
    weight, bias, floors = head(30, 64, 4)
    weight[20], bias[20] = weight[7], bias[7]  # an exact tie
    weight[9], bias[9] = weight[7], bias[7]
    weight[9, 3] = torch.nextafter(weight[9, 3], torch.tensor(9.0))  # ahead by less than float32 products can tell
    x = rows(16, 64, 4) + weight[7].relu()
    classes = run(weight, bias, floors, x, None, WHOLE)[0]
    assert torch.equal(classes, torch_ops.predict_class(x, weight, bias))
    assert torch.equal(classes, (x.double() @ weight.double().T + bias.double()).argmax(1))
    assert {7, 9} >= set(classes.tolist())


@needs_triton
def test_the_check_before_first_use_passes_and_finds_other_numbers() -> None:
    tensors = head(10, 40, 5)
    with interpreted.interpreter() as pool:
        assert pool.submit(interpreted.agrees, *tensors, 1.0).result()
        assert not pool.submit(interpreted.agrees, *tensors, 1.01).result()


def bare_scorer(monkeypatch: pytest.MonkeyPatch, *tensors: Tensor) -> Scorer:
    """One that takes its tensors to be on CUDA."""
    monkeypatch.setitem(scorer._PATHS, "cpu", cuda)
    monkeypatch.setattr(cuda, "installed", lambda: True)
    return Scorer(*tensors)


@needs_triton
def test_the_kernels_are_off_unless_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cuda.SWITCH, raising=False)
    assert not cuda.installed()
    monkeypatch.setenv(cuda.SWITCH, "1")
    assert cuda.installed()


def test_a_triton_that_cannot_be_used_is_said_in_one_line_and_torch_scores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable.")

    monkeypatch.setattr(torch.cuda, "get_device_properties", broken)
    tensors, x = head(10, 8, 0), rows(5, 8, 0)
    scorer = bare_scorer(monkeypatch, *tensors)
    for _ in range(2):
        torch.testing.assert_close(scorer.predict(x, None)[1], torch_ops.score(x, *tensors)[1])
    assert [r.getMessage().count("\n") for r in caplog.records] == [0]
    assert "Failed to find C compiler." in caplog.text or "No module named 'triton'" in caplog.text


@needs_triton
def test_kernels_that_disagree_with_torch_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Device:
        multi_processor_count = 1

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Device())
    monkeypatch.setattr(cuda, "agrees", lambda _: False)
    tensors, x = head(10, 8, 0), rows(5, 8, 0)
    scorer = bare_scorer(monkeypatch, *tensors)
    torch.testing.assert_close(scorer.predict(x, None)[1], torch_ops.score(x, *tensors)[1])
    assert scorer.packed() is None
    assert "other numbers than torch" in caplog.text


def test_triton_is_not_imported_before_a_cuda_tensor_is_scored() -> None:
    code = (
        "import sys, torch, line_plugin.cli, line_plugin.method.line\n"
        "from line_plugin.kernels.scorer import Scorer\n"
        "Scorer(torch.randn(3, 4), torch.zeros(3), torch.zeros(3, 4)).predict(torch.rand(2, 4), 1.0)\n"
        "print('triton' in sys.modules)"
    )
    assert run_python(code).strip().endswith("False")


@needs_triton
def test_state_beyond_an_imagenet_head_is_at_most_40_mb() -> None:
    from line_plugin.kernels.cuda import triton_masked

    k, d = 1000, 2048
    weight = torch.randn(k, d, generator=torch.Generator().manual_seed(0)) * 0.05
    sums = ClassSums(torch.ones(k, d, dtype=torch.float64), torch.ones(k, dtype=torch.int64))
    state = Fitted.make(weight, None, sums, LINeSettings(10, 10, 0.8), thresholds=torch.zeros(k, dtype=torch.float64))
    packed = cuda.PackedHead.of(triton_masked, state.weight, state.bias, state.floors, 264)
    shared = (packed.weight, packed.floors)
    assert [t.data_ptr() for t in shared] == [state.weight.data_ptr(), state.floors.data_ptr()]
    held = [state.sums.sums, state.sums.counts, state.thresholds, state.floors]
    assert sum(t.nbytes for t in held) + packed.own_bytes <= 40e6
    for n in (1, 64, 2048, 10**6):
        split = packed._splits(n)
        a_row = 4 * 1024 * (packed._chunks if split else 1) + 8 * d + 4 * k
        assert packed._rows_a_pass(split) * a_row <= 64 * 2**20


# -- what a compiler makes of the kernels, for GPUs that need not be here ----------------------------------------------

POINTERS = {"pairs": "*i64", "classes": "*i64", "n": "i32"}
HEAD = {
    "choose": ({"K": 1000, "D": 2048, "BLOCK": 1024}, 4),
    "masked": ({"D": 2048, "PADDED": 1024, "CHUNK": 64, "ROWS": 16, "TILE": 512}, 4),
    "confidence": ({"K": 1000, "PADDED": 1024, "PARTS": 32, "BLOCK": 1024}, 4),
}


def compiled(name: str, capability: int, **more: object) -> Any:
    """The kernel of an ImageNet head, as it is launched."""
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from line_plugin.kernels.cuda import triton_masked

    function = getattr(triton_masked, name)
    constants = {**HEAD[name][0], **more}
    kinds = {n: "constexpr" if n in constants else POINTERS.get(n, "*fp32") for n in function.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(kinds) if kinds[n][0] == "*" and n != "z"}
    source = ASTSource(function, kinds, constants, aligned)
    options = {"num_warps": HEAD[name][1], "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("split", [True, False], ids=["split", "whole"])
def test_masked_kernel_compiles_to_float32_multiply_adds_and_never_to_tf32(capability: int, split: bool) -> None:
    ptx = compiled("masked", capability, SPLIT=split).asm["ptx"]
    assert f"sm_{capability}" in ptx
    assert ptx.count("fma.rn.f32") >= 64
    assert "setp.gt.f32" in ptx
    assert not re.search(r"mma|tf32|\.f16|bf16|\batom|\bred\.|bar\.sync", ptx)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", ["choose", "confidence"])
def test_the_other_kernels_compile_without_atomics(name: str) -> None:
    ptx = compiled(name, 80).asm["ptx"]
    assert not re.search(r"\bmma|tf32|\batom|\bred\.", ptx)
    assert ("f64" in ptx) == (name == "choose")


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("capability", [80, 90])
def test_a_product_costs_one_comparison_and_one_predicated_multiply_add(capability: int, tmp_path: Path) -> None:
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        pytest.skip("this Triton comes without cuobjdump")
    binary = tmp_path / "masked.cubin"
    binary.write_bytes(compiled("masked", capability, SPLIT=True).asm["cubin"])
    code = subprocess.run([tool, "--dump-sass", binary], capture_output=True, text=True, check=True).stdout
    multiplied = len(re.findall(r"@!?P\d+ FFMA", code))
    assert multiplied == len(re.findall(r"\bFFMA\b", code)) == len(re.findall(r"\bFSETP\b", code)) >= 256
    loads = len(re.findall(r"\bLDG\b", code))
    assert loads * 3 < multiplied
    assert not re.search(r"\b(FSEL|LDL|STL|LDS|BAR)\b", code)  # no selects, no spills, no shared memory, no barriers


class Device:
    """What Triton asks a driver before it launches."""

    def get_current_device(self) -> int:
        return 99  # Triton keeps what it compiled by device: not to be mixed with a real one

    def get_current_stream(self, _: int = 0) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


class Compiled:
    """A kernel that is bound to its arguments and compiled as it would be launched, and not launched."""

    def __init__(self, kernel: Any, seen: list[str]) -> None:
        self._kernel, self._seen = kernel, seen

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self._seen.append(self._kernel.warmup(*args, grid=grid, **options).hash)


@needs_triton
@pytest.mark.usefixtures("own_cache")
def test_what_is_launched_compiles_once_whatever_the_batch_size_or_the_alignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from triton.runtime import driver

    from line_plugin.kernels.cuda import triton_masked

    seen: list[str] = []
    kernels: Any = SimpleNamespace(**{name: Compiled(getattr(triton_masked, name), seen) for name in HEAD})
    packed = cuda.PackedHead.of(kernels, *head(100, 342, 0), 8)
    x = torch.rand(300, 342)
    monkeypatch.setattr(driver, "_active", Device())
    for start, n in ((0, 1), (1, 1), (3, 5), (0, 16), (2, 64)):
        packed.predict(x[start : start + n], None)
    assert (len(seen), len(set(seen))) == (15, 3)
    packed.predict(x, 0.8)
    packed.predict(x[1:], None)
    assert (len(seen), len(set(seen))) == (21, 5)  # unsplit: two kernels more


def test_presets_are_among_the_ablations_scored() -> None:
    assert {(s.p_w, s.p_a, s.clip) for s in PRESETS.values()} <= set(SWITCHES.values())


def test_the_benchmark_says_where_nothing_can_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import scoring_cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["scoring_cuda"])
    scoring_cuda.main()
    assert capsys.readouterr().out == "not measured: no CUDA device\n"
