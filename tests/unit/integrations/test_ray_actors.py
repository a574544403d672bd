"""What Ray actors are asked for and how a plan is shared out, without a Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from line_plugin.errors import ClusterError, ClusterWarning, ImageError, SettingsError
from line_plugin.integrations.ray.actor import Actor, Outcome, Surroundings
from line_plugin.integrations.ray.crew import Size, size_of
from line_plugin.integrations.ray.sharing import SHARE, UNKNOWN, _Deal, _own_module, _shares

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


class LostError(Exception):
    """What Ray raises for an actor that is gone."""


class Backwards:
    """Two actors of which the later share always ends first, and the first share last of all.

    Args:
        lost: shares whose actor is lost, and how often.
    """

    size = 2

    def __init__(self, lost: dict[int, int]) -> None:
        self.idle: list[Any] = [SimpleNamespace(run=SimpleNamespace(remote=tuple)) for _ in range(self.size)]
        self.lost, self.unused, self.most, self.replaced = lost, 0, 0, 0
        self.exceptions = SimpleNamespace(RayTaskError=KeyError, RayError=LostError)

    def wait(self, running: dict[Any, Any], _seconds: float) -> list[Any]:
        """The last of the calls that run."""
        found = max(running, default=None)
        return [found] if found is not None else []

    def get(self, call: Any) -> Outcome:
        """Its results, if it is not lost."""
        if self.lost.get(call[0], 0):
            self.lost[call[0]] -= 1
            raise LostError("gone")
        self.unused += 1
        self.most = max(self.most, self.unused)
        return Outcome([n * n for n in call])

    def replace(self, actor: Any) -> None:
        """The actor is gone; its place is filled."""
        self.replaced += 1
        self.idle.append(actor)


@pytest.mark.filterwarnings("ignore::line_plugin.errors.ClusterWarning")
@pytest.mark.parametrize("lost", [{}, {0: 3, 7: 1}])
def test_results_come_in_the_order_of_the_plan_and_few_wait_in_memory(lost: dict[int, int]) -> None:
    crew = Backwards(lost)
    deal = _Deal(crew, crew, iter([[n] for n in range(40)]), 3)  # type: ignore[arg-type]
    found = []
    for result in deal.results():
        found.append(result)
        crew.unused -= 1
    assert found == [n * n for n in range(40)]
    assert crew.most == 4, "two shares an actor"
    assert crew.replaced == (4 if lost else 0)


def test_a_share_that_is_lost_once_more_than_allowed_ends_the_pass() -> None:
    crew = Backwards({1: 3})
    deal = _Deal(crew, crew, iter([[0], [1], [2]]), 2)  # type: ignore[arg-type]
    with (
        pytest.warns(ClusterWarning, match="share 2 of the images is computed again, time [12] of 2"),
        pytest.raises(ClusterError, match=r"share 2 of the images was lost 3 times .* \(the last time: gone\)"),
    ):
        list(deal.results())
