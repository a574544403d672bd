"""The protocol runner on a small world: once-only forwards, OpenOOD's table, sweeps, content-keyed cache."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import ImageFile

from line_plugin import LINe
from line_plugin.benchmark import methods, report
from line_plugin.benchmark.protocol import runner, spec
from line_plugin.benchmark.protocol.digests import FileDigests
from line_plugin.benchmark.protocol.features import FeatureCache, default_batch_size
from line_plugin.benchmark.protocol.runner import Options
from line_plugin.cli import options
from line_plugin.errors import DataError, EmptyClassError, ImageError, MissingDataError, SettingsError
from line_plugin.math.metrics import ood_metrics
from tests.integration.small_world import SmallNet, make_world, small_net

IMAGES = 60 + 24 + 30 + 18 + 16 + 14  # train, val, test, near, far
ALL = tuple(methods.names())


@pytest.fixture
def world(tmp_path: Path) -> tuple[spec.Benchmark, Path]:
    return spec.load(str(make_world(tmp_path / "data"))), tmp_path / "data"


@dataclass(frozen=True)
class Shared:
    """A world whose images are forwarded once for all methods, by a network that predicts each of its classes."""

    benchmark: spec.Benchmark
    root: Path
    folder: Path
    net: SmallNet


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    folder = tmp_path_factory.mktemp("shared")
    benchmark = spec.load(str(make_world(folder / "data")))
    return Shared(benchmark, folder / "data", folder, trained(folder / "data"))


def cache(tmp_path: Path, net: SmallNet | None = None, batch_size: int = 7) -> FeatureCache:
    net = net or small_net()
    return FeatureCache(net, tmp_path / "cache", device=torch.device("cpu"), batch_size=batch_size, num_workers=0)


def test_every_image_is_forwarded_once_whatever_the_methods_and_sweep_points(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    features = cache(tmp_path)
    chosen = Options(("line", "msp", "ebo", "react", "dice", "ash"), fsood=True, search=True)
    result = runner.evaluate(benchmark, root, features, chosen)
    assert result.forwarded == IMAGES + 15 + 20  # csID and OOD val as well
    # One more image finds the head, and once more how images go in.
    assert features.model.forwarded == result.forwarded + 2
    assert len(result.results[0].sweep) == 8


def test_a_new_method_on_the_same_network_forwards_nothing(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    first = runner.evaluate(benchmark, root, cache(tmp_path), Options(("msp",)))
    again = runner.evaluate(benchmark, root, cache(tmp_path), Options(("line", "dice")))
    assert (first.forwarded, again.forwarded) == (IMAGES, 0)


def test_the_batch_is_smaller_on_a_cpu_and_as_asked_where_asked(tmp_path: Path) -> None:
    def of(**how: int) -> int:
        return FeatureCache(small_net(), tmp_path, device=torch.device("cpu"), **how).batch_size

    assert (of(), of(batch_size=7)) == (32, 7)
    assert default_batch_size(torch.device("cuda")) == 200, "OpenOOD's"


@pytest.mark.parametrize(("cores", "workers"), [(1, 0), (2, 0), (4, 1), (16, 4), (64, 8)])
def test_where_the_network_runs_on_the_cores_few_of_them_decode(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert options.workers_of(Namespace(num_workers=None, device="cpu")) == workers
    assert options.workers_of(Namespace(num_workers=3, device="cpu")) == 3


def test_features_in_another_memory_format_are_not_mixed_with_these(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    features = cache(tmp_path)
    runner.evaluate(benchmark, root, features, Options(("ebo",)))
    assert features.head.layout is torch.channels_last
    assert runner.evaluate(benchmark, root, features, Options(("ebo",))).forwarded == 0
    features._head = replace(features.head, layout=torch.contiguous_format)
    assert runner.evaluate(benchmark, root, features, Options(("ebo",))).forwarded == IMAGES


def test_a_changed_checkpoint_never_shows_an_old_table(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    runner.evaluate(benchmark, root, cache(tmp_path, small_net(0)), Options(("ebo",)))
    other = runner.evaluate(benchmark, root, cache(tmp_path, small_net(1)), Options(("ebo",)))
    assert other.forwarded == IMAGES


def test_a_changed_image_is_forwarded_again_and_a_touched_one_is_not(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)))
    (root / "images/near_a/3.png").touch()
    assert runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",))).forwarded == 0
    (root / "images/near_a/3.png").write_bytes((root / "images/far_a/0.png").read_bytes())
    assert runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",))).forwarded == 18


def test_changed_preprocessing_is_forwarded_again(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)))
    shifted = benchmark.preprocessing.model_copy(update={"std": (0.2, 0.2, 0.2)})
    other = benchmark.model_copy(update={"preprocessing": shifted})
    assert runner.evaluate(other, root, cache(tmp_path), Options(("ebo",))).forwarded == IMAGES


def test_features_are_those_of_the_network(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    one = runner.evaluate(benchmark, root, cache(tmp_path, batch_size=200), Options(("ebo",)))
    from PIL import Image
    from torchvision import transforms as tv

    net = small_net()
    prepare = tv.Compose([tv.Resize(9), tv.CenterCrop(8), tv.ToTensor(), tv.Normalize([0.5] * 3, [0.25] * 3)])
    images = torch.stack([prepare(Image.open(root / f"images/far_a/{i}.png").convert("RGB")) for i in range(16)])
    with torch.no_grad():
        expected = torch.logsumexp(net(images), dim=1)
    np.testing.assert_allclose(one.results[0].scores["far_a"], expected.numpy(), rtol=1e-5)


def test_rows_come_in_openoods_order_with_unweighted_means(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    result = runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",))).results[0]
    assert [r.name for r in result.rows] == ["near_a", "nearood", "far_a", "far_b", "farood"]
    rows = {r.name: r.metrics for r in result.rows}
    assert rows["farood"].auroc == pytest.approx((rows["far_a"].auroc + rows["far_b"].auroc) / 2)
    assert rows["far_a"] == ood_metrics(result.scores["id"], result.scores["far_a"])


def test_fsood_adds_the_shifted_sets_to_id(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    run = runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",), fsood=True))
    scores = run.results[0].scores
    both = np.concatenate([scores["id"], scores["shifted"]])
    assert run.results[0].rows[0].metrics == ood_metrics(both, scores["near_a"])
    labels = np.concatenate([run.labels["id"], run.labels["shifted"]])
    predicted = np.concatenate([run.predicted["id"], run.predicted["shifted"]])
    assert run.results[0].rows[0].acc == pytest.approx(np.mean(labels == predicted))


FEW = {"knn": {"K": 5}, "nnguide": {"K": 5}}  # sixty training images hold no more neighbours


@pytest.mark.parametrize("name", ALL)
def test_every_method_scores_every_image_finitely(shared: Shared, name: str) -> None:
    chosen = Options((name,), {name: FEW.get(name, {})})
    run = runner.evaluate(shared.benchmark, shared.root, cache(shared.folder, shared.net), chosen)
    for scores in run.results[0].scores.values():
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()


def trained(root: Path) -> SmallNet:
    """She and klm need every class predicted at least once: a few steps on the training images."""
    from PIL import Image
    from torchvision import transforms as tv

    net = small_net()
    prepare = tv.Compose([tv.Resize(9), tv.CenterCrop(8), tv.ToTensor(), tv.Normalize([0.5] * 3, [0.25] * 3)])
    images = torch.stack([prepare(Image.open(root / f"images/train/{i}.png").convert("RGB")) for i in range(60)])
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(images), torch.arange(60) % 3).backward()
        optimiser.step()
    return net.eval()


@pytest.mark.parametrize("name", [n for n in ALL if methods.create(n).sweep and n not in ("ebo", "vim")])
def test_a_sweep_changes_the_scores_it_says_it_sweeps(shared: Shared, name: str) -> None:
    chosen = Options((name,), {"knn": {"K": 5}}, search=False)
    run = runner.evaluate(shared.benchmark, shared.root, cache(shared.folder), chosen)
    method = run.results[0].method
    assert method is not None
    features = method.data.val.features
    seen = []
    for point in method.sweep_points():
        if name == "knn" and int(point["K"]) > 60:  # type: ignore[arg-type]
            continue
        method.set(point)
        fresh = methods.create(name, dict(method.settings))
        fresh.fit(method.data)
        assert torch.equal(method.score(features), fresh.score(features))  # set() derives all that depends on it
        seen.append(method.score(features))
    if name != "knn":  # one K only fits the sixty images here
        assert any(not torch.equal(seen[0], other) for other in seen[1:])


def test_the_search_takes_the_best_validation_auroc_and_the_first_of_a_tie(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    result = runner.evaluate(benchmark, root, cache(tmp_path), Options(("react",))).results[0]
    best = max(p.auroc for p in result.sweep)
    assert result.settings == next(p.settings for p in result.sweep if p.auroc == best)
    assert [p.settings["percentile"] for p in result.sweep] == [85, 90, 95, 99]


def test_sweep_points_vary_the_first_setting_fastest_as_openood_does() -> None:
    points = list(methods.create("gen").sweep_points())
    assert points[:2] == [{"gamma": 0.01, "M": 10}, {"gamma": 0.1, "M": 10}]


def test_missing_sets_are_all_named_with_their_source(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    (root / "lists/far_b.txt").unlink()
    (root / "images/near_a/0.png").unlink()
    with pytest.raises(MissingDataError, match=r"near_a archive.*far_b archive.*--skip-missing"):
        runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)))
    rest = runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",), skip_missing=True))
    assert [r.name for r in rest.results[0].rows] == ["far_a", "farood"]
    assert len(rest.missing) == 2


def test_id_splits_are_needed_even_when_missing_sets_are_skipped(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    (root / "lists/train.txt").unlink()
    with pytest.raises(MissingDataError, match="train archive"):
        runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",), skip_missing=True))


@pytest.mark.parametrize("padding", [False, True], ids=["", "Pillow told to pad"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_image_is_named_and_leaves_no_half_written_features(
    world: tuple[spec.Benchmark, Path], tmp_path: Path, workers: int, padding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", padding)  # as importing OpenOOD does
    benchmark, root = world
    broken = root / "images/test/9.png"
    broken.write_bytes(broken.read_bytes()[:80])
    features = FeatureCache(
        small_net(), tmp_path / "cache", device=torch.device("cpu"), batch_size=7, num_workers=workers
    )
    with pytest.raises(ImageError, match=r"9\.png cannot be decoded"):
        runner.evaluate(benchmark, root, features, Options(("ebo",)))
    assert not list((tmp_path / "cache/features").glob(".partial*"))
    for folder in (tmp_path / "cache/features").iterdir():
        assert (folder / "about.json").is_file()


def test_a_listed_image_that_is_not_there_or_empty_is_named_before_anything_is_read_or_forwarded(
    world: tuple[spec.Benchmark, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark, root = world
    (root / "images/test/9.png").unlink()
    (root / "images/far_b/3.png").write_bytes(b"")
    net = small_net()

    def read(self: FileDigests, files: object) -> list[bytes]:
        raise AssertionError("an image was read")

    monkeypatch.setattr(FileDigests, "of", read)
    expected = (
        r"is missing 1 of the 30 images in .*9\.png does not exist or is empty; "
        r"get it from the test archive; .*far_b/3\.png"
    )
    with pytest.raises(MissingDataError, match=expected):
        runner.evaluate(benchmark, root, cache(tmp_path, net), Options(("ebo",)))
    assert net.forwarded == 0


def test_a_test_set_with_a_part_missing_is_left_out_and_never_measured_in_part(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    (root / "images/far_b/3.png").unlink()
    found = runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",), skip_missing=True))
    assert "far_b" not in found.labels
    assert found.missing[0].startswith("data set 'far_b' is missing 1 of the 14 images")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("test/0.png\n", "line 1: 'test/0.png' is not 'relative/path label'"),
        ("test/0.png three\n", "is not 'relative/path label'"),
        ("test/0.png 3\n", "label 3, but 'small test' is an ID set of 3 classes"),
        ("/test/0.png 1\n", "needs a path below"),
    ],
)
def test_a_malformed_list_is_refused(
    world: tuple[spec.Benchmark, Path], tmp_path: Path, text: str, message: str
) -> None:
    benchmark, root = world
    (root / "lists/test.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)))


def test_an_interruption_leaves_only_whole_sets(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world

    def stop(done: int, _total: int) -> None:
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)), stop)
    assert not list((tmp_path / "cache/features").glob(".partial*"))
    rest = runner.evaluate(benchmark, root, cache(tmp_path), Options(("ebo",)))
    assert 0 < rest.forwarded < IMAGES


def test_a_class_without_a_training_image_is_refused_by_its_name(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    path = root / "lists/train.txt"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if not line.endswith(" 1")))
    named = benchmark.model_copy(update={"class_names": ("cat", "dog", "bird")})
    with pytest.raises(EmptyClassError, match="no training image of class dog"):
        runner.evaluate(named, root, cache(tmp_path), Options(("line",)))


def test_a_head_of_other_classes_is_refused(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    with pytest.raises(SettingsError, match=r"has 3 classes, benchmark 'small' has 4"):
        runner.evaluate(benchmark.model_copy(update={"num_classes": 4}), root, cache(tmp_path), Options(("ebo",)))


def test_the_runners_line_saves_an_artifact_that_scores_alike(
    world: tuple[spec.Benchmark, Path], tmp_path: Path
) -> None:
    benchmark, root = world
    run = runner.evaluate(benchmark, root, cache(tmp_path), Options(("line",)))
    method = run.results[0].method
    assert method is not None
    method.line.save(tmp_path / "line.safetensors")  # type: ignore[attr-defined]
    loaded = LINe.load(tmp_path / "line.safetensors")
    np.testing.assert_array_equal(loaded.score(method.data.val.features), method.score(method.data.val.features))
    assert loaded.provenance.extra["benchmark"] == "small"


def test_csv_has_openoods_columns_and_runs_as_mean_and_std(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    benchmark, root = world
    runs = [runner.evaluate(benchmark, root, cache(tmp_path, small_net(i)), Options(("ebo",))) for i in range(3)]
    (summary,) = report.summarise(runs)
    lines = report.csv_text(summary).splitlines()
    assert lines[0] == ",FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC"
    aurocs = [100 * r.results[0].rows[0].metrics.auroc for r in runs]
    assert lines[1].split(",")[2] == f"{np.mean(aurocs):.2f} ± {np.std(aurocs):.2f}"
    (alone,) = report.summarise(runs[:1])
    assert report.csv_text(alone).splitlines()[1].split(",")[2] == f"{aurocs[0]:.2f}"


def test_an_unknown_key_of_a_benchmark_file_offers_the_nearest(tmp_path: Path) -> None:
    path = make_world(tmp_path / "data")
    path.write_text(path.read_text().replace("num_classes", "num_clases"))
    with pytest.raises(DataError, match="unknown key 'num_clases': did you mean 'num_classes'"):
        spec.load(str(path))


def test_a_folder_of_images_is_a_data_set(world: tuple[spec.Benchmark, Path], tmp_path: Path) -> None:
    _, root = world
    path = root / "small.yml"
    raw = yaml.safe_load(path.read_text())
    raw["ood"]["far"]["far_a"] = {"folder": "images/far_a"}
    path.write_text(yaml.safe_dump(raw))
    run = runner.evaluate(spec.load(str(path)), root, cache(tmp_path), Options(("ebo",)))
    assert len(run.results[0].scores["far_a"]) == 16


def test_every_shipped_benchmark_is_valid_and_names_sources() -> None:
    for name in spec.shipped():
        benchmark = spec.load(name)
        assert benchmark.name == name
        assert all(images.source for _, _, images in benchmark.ood_sets())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: methods.create("lin"), "unknown method 'lin': did you mean 'line'"),
        (lambda: methods.create("line", {"pw": 3}), "unknown setting of line 'pw': did you mean 'p_w'"),
        (lambda: methods.create("msp", {"t": 1}), "'msp' has no settings"),
        (lambda: spec.load("cifar"), "unknown benchmark 'cifar': did you mean 'cifar10'"),
    ],
)
def test_unknown_names_offer_the_nearest(make: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make()  # type: ignore[operator]
