"""``--ray``: actors on a small cluster of two nodes, and what they give beside one process.

One Ray serves the whole file. The command that starts a Ray of its own is in ``test_ray_command.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from line_plugin.cli import main, parser, sharing
from line_plugin.integrations.ray.sharing import RayPasses
from tests.integration.small_world import make_world, write_images
from tests.integration.test_several_devices import NETWORK
from tests.ray_cluster import add_node, cores_taken, node_folder, start_cluster

pytest.importorskip("ray", reason="Ray is not installed: pip install 'openood-line[ray]'")
BATCH = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with four cores. Others may add nodes and take them away."""
    with start_cluster(4) as found:
        yield found


class World:
    """A data root, and what one process makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = make_world(folder / "data").parent
        self.flags = ["--id-data", str(self.data / "small.yml"), "--data-root", str(self.data), "--device", "cpu"]
        self.flags += ["--model", "tests.integration.small_world:small_net", "--num-workers", "0"]
        self.flags += ["--batch-size", str(BATCH)]
        self.alone = self.everything("alone")

    def everything(self, name: str) -> dict[str, str]:
        """Digests of what fit, eval and score write."""
        out = self.folder / name
        artifact, cache = out / "line.safetensors", ["--cache-dir", str(out / "cache")]
        assert main(["fit", *self.flags, *cache, "--output", str(artifact)]) == 0
        methods = ["--postprocessor", "line,ebo,knn", "--save-csv", "--save-score", "--brief"]
        assert main(["eval", *self.flags, *cache, *methods, "--output-dir", str(out / "results")]) == 0
        flags = ["--artifact", str(artifact), "--images", str(self.data / "images"), *self.flags[4:]]
        inputs = [str(self.data / "lists" / f"{n}.txt") for n in ("test", "far_a")] + [str(self.data / "images/near_a")]
        assert main(["score", *inputs, *flags, "--explain", "2", "--output", str(out / "rows.jsonl")]) == 0
        files = sorted(p for p in out.rglob("*") if p.is_file() and p.suffix != ".sqlite")
        return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Callable[[RayPasses], None]:
    """Let every command use actors that are there already."""
    return lambda passes: monkeypatch.setattr(sharing, "passes_of", lambda _: contextlib.nullcontext(passes))


@pytest.mark.parametrize("actors", [1, 2, 4])
def test_artifact_features_tables_and_rows_are_those_of_one_process_bit_for_bit(
    cluster: Any, world: World, shared: Callable[[RayPasses], None], actors: int
) -> None:
    with RayPasses(cluster.address, actors, cuda=False) as passes:
        shared(passes)
        found = world.everything(f"actors-{actors}")
    assert len(found) == len(world.alone) >= 20
    assert found == world.alone


def prepared(folder: Path, trouble: str) -> list[str]:
    """The flags of an evaluation with a network that gets into trouble in an actor."""
    (folder / "seen").mkdir()
    (folder / "net.py").write_text(NETWORK.replace("{trouble}", trouble))
    data = make_world(folder / "data").parent
    flags = ["eval", "--id-data", str(data / "small.yml"), "--data-root", str(data), "--postprocessor", "ebo"]
    flags += ["--model", f"{folder / 'net.py'}:build", "--checkpoint", str(folder / "net.pt"), "--device", "cpu"]
    make_weights(folder)
    return [*flags, "--num-workers", "0", "--batch-size", str(BATCH), "--brief"]


def make_weights(folder: Path) -> None:
    import torch

    from line_plugin.networks.user_models import load_user_model

    torch.save(load_user_model(f"{folder / 'net.py'}:build").state_dict(), folder / "net.pt")


def features(cache: Path) -> dict[str, str]:
    return {str(p.relative_to(cache)): hashlib.sha256(p.read_bytes()).hexdigest() for p in cache.glob("features/*/*")}


# The first process that is at a batch is gone. Two may be there at once, so the file says which one was first.
KILL_ONCE = """
        if len(x) > 1 and os.getpid() != {driver}:
            try:
                with open(HERE / "killed", "x") as file:
                    file.write(str(os.getpid()))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), 9)"""


def test_the_share_of_an_actor_that_is_killed_at_work_is_computed_again(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepared(tmp_path, KILL_ONCE.replace("{driver}", str(os.getpid())).lstrip())
    assert main([*flags, "--cache-dir", str(tmp_path / "one")]) == 0
    assert main([*flags, "--cache-dir", str(tmp_path / "ray"), "--ray", cluster.address, "--ray-actors", "2"]) == 0
    said = capsys.readouterr()
    assert said.err.count("openood: note: an actor was lost (") == 1, said.err
    assert "is computed again, time 1 of 3 at most" in said.err
    killed = int((tmp_path / "killed").read_text())
    assert killed in {int(p.name) for p in (tmp_path / "seen").iterdir()} - {os.getpid()}
    assert features(tmp_path / "ray") == features(tmp_path / "one") != {}
    tables = said.out.replace("\n", " ").split("Images forwarded")
    assert tables[0] in tables[1]


def test_a_share_that_kills_every_actor_ends_the_run_with_one_line_and_nothing_half_written(
    cluster: Any, tmp_path: Path, shared: Callable[[RayPasses], None], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepared(tmp_path, f"os.kill(os.getpid(), 9) if len(x) > 1 and os.getpid() != {os.getpid()} else None")
    with RayPasses(cluster.address, 1, cuda=False, retries=1) as passes:
        shared(passes)
        assert main([*flags, "--cache-dir", str(tmp_path / "cache")]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("openood: error: share 1 of the images was lost 2 times with the actor that had it")
    assert last.endswith("give fewer --ray-actors, or a smaller --batch-size")
    assert not list((tmp_path / "cache/features").iterdir())


def test_a_node_that_is_lost_is_survived(cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wait = f"while len(x) > 1 and os.getpid() != {os.getpid()} and not (HERE / 'go').exists(): time.sleep(0.05)"
    flags = prepared(tmp_path, wait)
    with node_folder() as folder, cores_taken(cluster, 4) as others:  # so that work has to go elsewhere
        node = add_node(cluster, folder)
        lose_it_while_it_works(cluster, node, others, tmp_path, flags)
    said = capsys.readouterr()
    assert said.err.count("openood: note: an actor was lost (") == 1, said.err
    assert main([*flags, "--cache-dir", str(tmp_path / "one")]) == 0
    assert features(tmp_path / "ray") == features(tmp_path / "one") != {}


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def lose_it_while_it_works(cluster: Any, node: Any, others: Any, tmp_path: Path, flags: list[str]) -> None:
    """Evaluate with two actors: one hangs at work until its node is gone, the other starts when the head is free."""
    seen, errors = tmp_path / "seen", list[str]()

    def take_away() -> None:
        until = time.monotonic() + 240
        while not (pids := {int(p.name) for p in seen.iterdir()} - {os.getpid()}):
            if time.monotonic() > until:
                errors.append("no actor was at work within 240 seconds")
                break
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        while any(is_alive(pid) for pid in pids) and time.monotonic() < until:  # it outlives its node by a moment
            time.sleep(0.05)
        others.stdin.close()
        (tmp_path / "go").touch()

    other = threading.Thread(target=take_away)
    other.start()
    try:
        code = main([*flags, "--cache-dir", str(tmp_path / "ray"), "--ray", cluster.address, "--ray-actors", "2"])
    finally:
        other.join()
    assert not errors
    assert code == 0


def test_an_image_that_cannot_be_read_is_the_error_of_one_process_and_keeps_the_sets_before_it(
    cluster: Any, world: World, tmp_path: Path, shared: Callable[[RayPasses], None], capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    data = tmp_path / "data"
    make_world(data)
    broken = data / "images" / "near_a" / "9.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (data / "images" / "far_a" / "3.png").write_text("no image")  # a later one is not what is said
    flags = [f.replace(str(world.data), str(data)) for f in world.flags]
    write_images(data, "more", 5, None, np.random.default_rng(3), 0)
    (data / "images" / "more" / "2.png").write_bytes(b"")
    scored = ["score", str(data / "images/more"), "--artifact", str(world.folder / "alone/line.safetensors")]
    scored += flags[4:]

    def run(name: str) -> tuple[Any, ...]:
        capsys.readouterr()
        assert main(["eval", *flags, "--postprocessor", "ebo", "--cache-dir", str(tmp_path / name)]) == 1
        said = capsys.readouterr().err
        assert main([*scored, "--output", str(tmp_path / f"{name}.jsonl")]) == 3
        return said, features(tmp_path / name), (tmp_path / f"{name}.jsonl").read_bytes()

    one = run("one")
    with RayPasses(cluster.address, 2, cuda=False) as passes:
        shared(passes)
        assert run("ray") == one
        other_head = [f if f != "4" else "2" for f in scored]
        capsys.readouterr()
        assert main([*other_head, "--head", "body", "--output", str(tmp_path / "no.jsonl")]) == 1
        assert "openood: error: no Linear at 'body'" in capsys.readouterr().err
    assert one[0].count("\n") == 1
    assert "near_a/9.png cannot be decoded" in one[0]
    assert len({Path(p).parent for p in one[1]}) == 3, "train, val and test"
    assert sum(bool(json.loads(line)["error"]) for line in one[2].splitlines()) == 1


def test_what_an_actor_raises_is_said_as_in_one_process(
    cluster: Any, tmp_path: Path, shared: Callable[[RayPasses], None], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepared(tmp_path, 'if len(x) > 1: raise RuntimeError("out of something")')
    flags += ["--cache-dir", str(tmp_path / "cache")]
    assert main(flags) == 1
    alone = capsys.readouterr().err
    with RayPasses(cluster.address, 1, cuda=False) as passes:
        shared(passes)
        assert main(flags) == 1
        assert capsys.readouterr().err == alone
        with pytest.raises(RuntimeError, match="out of something") as found:
            main([*flags, "--debug"])
    assert "net.py" in str(found.value.__cause__)


def test_when_the_cache_has_everything_no_ray_is_started(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("line_plugin.integrations.ray.sharing.local_ray", None)
    cache = ["--cache-dir", str(world.folder / "alone/cache")]
    assert main(["eval", *world.flags, *cache, "--postprocessor", "ebo", "--brief", "--ray"]) == 0
    assert "Images forwarded: 0" in capsys.readouterr().out


def test_more_actors_than_cores_of_the_cluster_are_refused(
    cluster: Any, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--cache-dir", str(tmp_path), "--postprocessor", "ebo", "--ray", cluster.address, "--ray-actors", "64"]
    assert main(["eval", *world.flags, *flags]) == 1
    assert "64 actors wanted, and the cluster has 4 cores: give --ray-actors 4 or less" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for command in (["fit"], ["eval"], ["score", str(world.data), "--artifact", "x"]):
        more = world.flags if command[0] != "score" else []
        if command[0] == "score":
            command[3] = str(world.folder / "alone/line.safetensors")
        assert main([*command, *more, "--ray"]) == 1
        assert "--ray needs ray, which is not installed: pip install 'openood-line[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ray", "--device", "cuda:1"], "gives each actor a GPU of its own: give --device cuda"),
        (["--ray-actors", "2"], "--ray-actors 2 given without --ray"),
        (["--ray", "--engine", "openood"], "whose passes are upstream's own"),
        (["--ray", "127.0.0.1:1"], "nothing answers at 127.0.0.1:1"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    world: World, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--cache-dir", str(tmp_path), "--postprocessor", "ebo"]
    assert main(["eval", *world.flags, *usual, *flags]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "message"),
    [("ray://127.0.0.1:10001", "Ray's client protocol is not used"), ("images", "come before a --ray that has none")],
)
def test_an_address_that_is_none_is_refused(address: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["score", "--artifact", "x", "--ray", address, "images"])
    assert message in " ".join(capsys.readouterr().err.split())
