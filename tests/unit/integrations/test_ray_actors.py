"""What Ray actors are asked for and how a plan is shared out, without a Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import torch

from line_plugin.errors import ClusterError, ImageError, SettingsError
from line_plugin.integrations.ray.actor import Actor, Surroundings
from line_plugin.integrations.ray.crew import Size, size_of
from line_plugin.integrations.ray.sharing import SHARE, UNKNOWN, _own_module, _shares

cloudpickle = pytest.importorskip("ray.cloudpickle", reason="Ray is not installed: pip install 'openood-line[ray]'")
TWO_NODES = [{"CPU": 6.0, "GPU": 2.0}, {"CPU": 3.0}]


class Squares:
    """Work that fails at the third batch."""

    model = torch.nn.Identity()

    def __call__(self, plan: Iterable[int]) -> Iterator[int]:
        for n in plan:
            if n == 3:
                raise ImageError("image 3 is not there")
            yield n * n


@pytest.mark.parametrize(
    ("asked", "cuda", "threads", "size"),
    [
        (None, True, 4, Size(2, 1, 1)),
        (1, True, 4, Size(1, 1, 1)),
        (4, True, 4, Size(4, 1, 0.5)),
        (3, True, 4, Size(3, 1, 0.666)),  # rounded down: three have room on two GPUs
        (None, False, 2, Size(4, 2, 0)),  # three on one node and one on the other: none spans two
        (None, False, 1, Size(9, 1, 0)),
        (None, False, 64, Size(1, 6, 0)),  # the largest node has six
        (5, False, 4, Size(5, 1, 0)),
    ],
)
def test_there_is_an_actor_a_gpu_or_one_for_as_many_cores_as_there_are_threads(
    asked: int | None, cuda: bool, threads: int, size: Size
) -> None:
    assert size_of(TWO_NODES, asked, cuda=cuda, threads=threads) == size


def test_more_actors_than_cores_and_a_cluster_without_a_gpu_are_refused() -> None:
    with pytest.raises(SettingsError, match="10 actors wanted, and the cluster has 9 cores: give --ray-actors 9"):
        size_of(TWO_NODES, 10, cuda=False, threads=1)
    with pytest.raises(SettingsError, match="Ray finds no GPU in the cluster"):
        size_of(TWO_NODES[1:], None, cuda=True, threads=1)


def test_shares_are_whole_batches_in_order_and_small_enough_for_every_actor_to_have_some() -> None:
    for count, actors, largest in ((1000, 2, SHARE), (16, 2, 2), (3, 4, 1), (0, 2, 0)):
        shares = list(_shares(list(range(count)), actors))
        assert [n for share in shares for n in share] == list(range(count))
        assert max(map(len, shares), default=0) == largest
    endless = iter(int, 1)
    assert len(next(_shares(endless, 2))) == UNKNOWN, "of a plan without an end, only what is needed is read"


def test_an_error_comes_after_the_results_of_the_batches_before_it() -> None:
    actor = Actor(Surroundings.here())
    assert actor.prepare(cloudpickle.dumps(Squares())).results == [""]
    outcome = actor.run([1, 2, 3, 4])
    assert outcome.results == [1, 4]
    assert isinstance(outcome.error, ImageError)
    assert "in __call__" in outcome.trace


def test_a_node_with_other_libraries_is_refused_and_one_with_another_processor_is_named() -> None:
    here = Surroundings.here()
    other = Actor(replace(here, versions=here.versions | {"torch": "1.0"})).prepare(b"")
    assert isinstance(other.error, ClusterError)
    assert f"has torch {here.versions['torch']} (here 1.0), so its features would be others" in str(other.error)
    (note,) = Actor(replace(here, processor="ABACUS")).prepare(cloudpickle.dumps(Squares())).results
    assert "this machine with ABACUS: the last bits of its features may differ" in note
    broken = Actor(here).prepare(b"no pickle")
    assert "cannot load the network" in str(broken.error)


def test_an_actor_computes_with_the_threads_and_the_precision_of_the_command() -> None:
    before = Surroundings.here()
    try:
        wanted = replace(before, threads=before.threads + 1, matmul="medium", deterministic=True)
        Actor(wanted).prepare(cloudpickle.dumps(Squares()))
        assert Surroundings.here() == wanted
    finally:
        before.take_over()


def test_only_modules_that_are_no_installed_library_travel_along() -> None:
    assert _own_module("torch.nn.modules.linear") is None
    assert _own_module("line_plugin.networks.architectures.lenet") is None
    assert _own_module("builtins") is None
    own = _own_module(__name__)
    assert own is not None
    assert own.__name__ == __name__
