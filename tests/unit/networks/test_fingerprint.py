"""The fingerprint of a network: what changes it and what does not."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from line_plugin.networks import build, load_user_model
from line_plugin.networks.fingerprint import class_name, fingerprint


def test_the_fingerprint_follows_weights_and_structure() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    before = fingerprint(net)
    assert before == fingerprint(net)
    other = nn.Sequential(nn.Linear(3, 2), nn.GELU())
    other.load_state_dict(net.state_dict())
    assert fingerprint(other) != before
    with torch.no_grad():
        net[0].weight[0, 0] += 1e-6
    assert fingerprint(net) != before


def test_the_fingerprint_follows_code_beside_the_class(tmp_path: Path) -> None:
    source = (
        "from torch import nn\ndef f(x): return x.{}()\nclass Net(nn.Linear):\n    def forward(self, x): return f(x)\n"
    )
    source += "def build(): return Net(2, 2)\n"
    path, found = tmp_path / "net.py", []
    for name in ("relu", "sigmoid", "relu"):
        path.write_text(source.format(name))
        torch.manual_seed(0)
        found.append(fingerprint(load_user_model(f"{path}:build")))
    assert found[0] == found[2]
    assert found[0] != found[1]


def test_a_built_in_network_keeps_its_fingerprint_when_its_file_moves_inside_the_package() -> None:
    """Artifacts and feature caches of earlier releases hold fingerprints under the first name."""
    assert class_name(type(build("lenet", 3))) == "line_plugin.architectures.lenet.LeNet"
    assert class_name(nn.Linear) == "torch.nn.modules.linear.Linear"
