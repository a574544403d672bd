"""What pytorch-ood asks of every detector, of ours and of the one in contrib/pytorch_ood.

The first half restates the library's own generic tests, so that it always runs. The second runs those tests themselves,
from a copy of the library's source that PYTORCH_OOD_SOURCE names.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_ood import detector as library
from pytorch_ood.api import DetectorInfo, FeaturesDetector, ModelNotSetException, RequiresFittingException, Task
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from line_plugin.pytorch_ood import LINeDetector
from tests.fixtures.pytorch_ood_detectors import CONTRIBUTION, builders, classes, contributed

ROOT = Path(__file__).parents[3]


class Model(nn.Module):
    """Ten inputs, ten features of both signs, three classes; dropout in between, as the library's own has it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.classifier = nn.Linear(10, 10), nn.Linear(10, 3)

    def features(self, x: Tensor) -> Tensor:
        return self.layer1(x).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(nn.functional.dropout(self.features(x), training=self.training))


def model() -> Model:
    torch.manual_seed(123)
    return Model().eval()


def loader(outliers: int = 0) -> DataLoader[Any]:
    x, y = torch.randn(24 + outliers, 10), torch.arange(24 + outliers) % 3
    y[24:] = -1
    return DataLoader(TensorDataset(x, y), batch_size=6)


BUILDERS = builders(model)
each = pytest.mark.parametrize("build", [b for _, b in BUILDERS], ids=[name for name, _ in BUILDERS])
each_class = pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__name__)


@each
@pytest.mark.filterwarnings("ignore")
def test_it_fits_on_a_loader_and_gives_a_finite_score_for_each_input(build: Any) -> None:
    detector = build().fit(loader(outliers=6))
    scores = detector(torch.randn(8, 10))
    assert scores.shape == (8,)
    assert torch.isfinite(scores).all()
    assert not scores.requires_grad


@each
@pytest.mark.filterwarnings("ignore")
def test_scores_of_inputs_are_scores_of_their_features_and_fit_gives_the_detector(build: Any) -> None:
    detector, x = build(), torch.randn(8, 10)
    assert detector.fit(loader()) is detector
    assert torch.equal(detector.predict(x), detector.predict_features(detector.encoder(x)))
    assert detector.to("cpu") is detector
    assert detector.device == torch.device("cpu")
    assert torch.equal(detector(x), detector.predict(x))


@each
def test_it_says_that_it_is_not_fitted_or_has_no_encoder(build: Any) -> None:
    detector = build()
    with pytest.raises(RequiresFittingException):
        detector.predict_features(torch.randn(2, 10))
    detector.encoder = None
    for call in (lambda: detector.fit(loader()), lambda: detector.predict(torch.randn(2, 10))):
        with pytest.raises(ModelNotSetException):
            call()


@each
def test_its_hyperparameters_are_those_of_its_search_space(build: Any) -> None:
    detector = build()
    assert set(detector.get_hyperparameters()) == set(detector.hyperparameter_space)
    with pytest.raises(ValueError, match=r"hyper-?parameter"):
        detector.set_hyperparameters(no_such=1)
    for name, values in detector.hyperparameter_space.items():
        assert detector.set_hyperparameters(**{name: values[0]}).get_hyperparameters()[name] == values[0]


@each_class
def test_each_class_has_a_record_of_its_own_and_the_methods_of_a_features_detector(cls: Any) -> None:
    assert isinstance(vars(cls)["info"], DetectorInfo)
    assert cls.info.tasks == {Task.CLASSIFICATION}
    assert issubclass(cls, FeaturesDetector)
    assert cls.requires_fit
    for other in ("predict_logits", "predict_feature_maps", "predict_structured"):
        assert not hasattr(cls, other)
    parameters = inspect.signature(cls.predict_features).parameters
    assert next(iter(parameters)) == "self"
    assert inspect.Parameter.VAR_POSITIONAL not in {p.kind for p in parameters.values()}


# -- the detector that a pull request to the library holds -------------------------------------------------------------


@pytest.mark.parametrize(("p_w", "p_a", "clip"), [(0.9, 0.9, 1.0), (0.1, 0.5, 0.8), (0.5, 0.1, None)])
def test_the_contributed_detector_scores_as_ours(p_w: float, p_a: float, clip: float | None) -> None:
    torch.manual_seed(1)
    z, y = torch.rand(90, 12) * 2, torch.arange(90) % 5 - 1  # a fifth of it is OOD
    w, b = torch.randn(4, 12), torch.randn(4)
    theirs = contributed()(None, w, b, p_w, p_a, clip).fit_features(z, y)
    ours = LINeDetector(None, w, b, 100 * p_w, 100 * p_a, clip).fit_features(z, y)
    x = torch.rand(40, 12) * 3
    torch.testing.assert_close(theirs.predict_features(x), ours.predict_features(x))
    for settings in ({"p_w": 0.3}, {"p_a": 0.7, "clip": 0.4}):
        theirs.set_hyperparameters(**settings)
        ours.set_hyperparameters(**{k: v if k == "clip" else 100 * v for k, v in settings.items()})
        torch.testing.assert_close(theirs.predict_features(x), ours.predict_features(x))


def test_the_contributed_detector_refuses_a_class_without_a_sample() -> None:
    with pytest.raises(ValueError, match="every class"):
        contributed()(None, torch.randn(4, 12), torch.zeros(4)).fit_features(torch.rand(9, 12), torch.arange(9) % 3)


def test_the_library_has_no_detector_of_that_name_yet() -> None:
    assert "LINe" not in library.__all__, "contrib/pytorch_ood has been overtaken"


# -- with a copy of the library's source -------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the library's source with the contribution, as docs/upstream.md types it."""
    named = os.environ.get("PYTORCH_OOD_SOURCE")
    if not named or not (Path(named) / "src/pytorch_ood").is_dir():
        pytest.skip(
            "set PYTORCH_OOD_SOURCE to a checkout of https://github.com/kkirchheim/pytorch-ood, or to its unpacked "
            "source distribution 0.4.0, to run the library's own tests on our detectors"
        )
    copy = tmp_path / "pytorch-ood"
    shutil.copytree(named, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    return copy


def test_the_librarys_own_tests_of_every_detector_pass_on_ours(source: Path) -> None:
    driver = ROOT / "tests/fixtures/pytorch_ood_detectors.py"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(driver), str(source)]
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_contribution_applies_and_is_exported(source: Path) -> None:
    page = (ROOT / "docs/upstream.md").read_text(encoding="utf-8")
    (typed,) = [b for b in re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL) if '"$CONTRIB/src"' in b]
    env = {**os.environ, "CONTRIB": str(CONTRIBUTION), "GIT_CEILING_DIRECTORIES": str(source.parent)}
    done = subprocess.run(["bash", "-ec", typed], cwd=source, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\nthe patch is against another release than PYTORCH_OOD_SOURCE has"
    code = "from pytorch_ood import detector; print('LINe' in detector.__all__, detector.LINe.__module__)"
    env = {**os.environ, "PYTHONPATH": str(source / "src")}
    shown = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "pytorch_ood.detector.line"]
