"""Plans the passes of a run: lists the sets to forward, and checks that the network's head fits the benchmark."""

from __future__ import annotations

from line_plugin.benchmark.methods.base import FeatureSet
from line_plugin.benchmark.protocol import image_list
from line_plugin.benchmark.protocol.features import FeatureCache, Progress, Request
from line_plugin.benchmark.protocol.spec import Benchmark
from line_plugin.errors import SettingsError


def check_head(benchmark: Benchmark, cache: FeatureCache, request: Request) -> None:
    """Refuse a network with another number of classes after one image, not after all of them.

    Raises:
        SettingsError: the head has another number of classes. HeadError: no head was found.
    """
    linear = cache.find_head(request).linear
    if linear.out_features != benchmark.num_classes:
        raise SettingsError(
            f"the network's head {cache.head.path!r} has {linear.out_features} classes, benchmark {benchmark.name!r} "
            f"has {benchmark.num_classes}: give the checkpoint that belongs to the benchmark"
        )


def _wanted(benchmark: Benchmark, sets: image_list.Sets) -> dict[str, Request]:
    """List every set of a run by name, the training set first."""
    specs = {**benchmark.csid, **benchmark.ood.near, **benchmark.ood.far}
    wanted = [("train", sets.train, benchmark.id.train), ("val", sets.val, benchmark.id.val)]
    wanted += [("id", sets.test, benchmark.id.test)]
    wanted += [(n, s, specs[n]) for n, s in {**sets.csid, **sets.near, **sets.far}.items()]
    if sets.ood_val is not None and benchmark.ood.val is not None:
        wanted.append(("ood val", sets.ood_val, benchmark.ood.val))
    return {name: Request(images, benchmark.preprocessing_of(spec)) for name, images, spec in wanted}


def forward(
    benchmark: Benchmark, sets: image_list.Sets, cache: FeatureCache, progress: Progress | None = None
) -> dict[str, FeatureSet]:
    """Returns the features of every set by name, with one pass over those that are not in the cache."""
    wanted = _wanted(benchmark, sets)
    check_head(benchmark, cache, wanted["train"])
    return dict(zip(wanted, cache.get(list(wanted.values()), progress), strict=True))
