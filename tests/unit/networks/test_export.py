"""A network as a file for model servers: the same outputs, any batch size, and which network it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from line_plugin import LINe, networks
from line_plugin.cli import main
from line_plugin.errors import ExportError, HeadError, SettingsError
from line_plugin.networks.export import FORMATS, export_network, format_of, head_digest, read_about
from line_plugin.networks.export.formats import load_format
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'openood-line[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'openood-line[export]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SUFFIX = {name: suffixes[0] for name, suffixes in FORMATS.items()}


def images(n: int = 7, side: int = 28) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def lenet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return networks.build("lenet_mnist", 8)


class Softmax(nn.Module):
    """Its output is not the head's: the head has to be named."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU()), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x)).softmax(dim=1)


class Constant(Softmax):
    """Draws a number outside of torch: what is exported keeps the number of that day."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) * (1 + np.random.random()))


class Branching(Softmax):
    """What runs depends on the values of the images."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x) * 2) if float(x.sum()) > 0 else self.head(self.body(x))


class FixedBatch(Softmax):
    """Knows the batch size of the day on which it was exported."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.reshape(int(x.shape[0]), -1)[: int(x.shape[0])]))


class Tokens(nn.Module):
    """The head runs on every token."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1, 2))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_gives_the_networks_logits_and_head_inputs_for_any_batch_size(kind: str, tmp_path: Path) -> None:
    model, batch = lenet(), images()
    done = export_network(model, batch, tmp_path / f"net{SUFFIX[kind]}")
    assert (done.format, done.images) == (kind, 7)
    head = find_head(model, batch)
    run = load_format(kind).opened(done.path.read_bytes())
    for n in (1, 3, 7):
        features, logits = forward(model, head, batch[:n])
        got_logits, got_features = run(batch[:n])
        assert torch.allclose(got_logits, logits, atol=1e-5)
        assert torch.allclose(got_features, features, atol=1e-5)
    about = read_about(done.path)
    assert about == done.about
    assert (about.head, about.num_classes, about.width, about.input_shape) == (head.path, 8, 128, (3, 28, 28))
    assert about.model_sha256 == fingerprint(model)
    assert about.head_sha256 == head_digest(head.linear.weight, head.linear.bias)


def test_an_onnx_file_names_its_input_and_outputs_and_holds_no_folder_of_who_wrote_it(tmp_path: Path) -> None:
    done = export_network(lenet(), images(), tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(done.path.read_bytes(), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [
        ("logits", ["batch", 8]),
        ("embedding", ["batch", 128]),
    ]
    assert json.loads(session.get_modelmeta().custom_metadata_map["openood_line"])["width"] == 128
    assert b".py" not in done.path.read_bytes()


@pytest.mark.parametrize("kind", ["torchscript", "torch_export"])
def test_torchs_own_formats_name_the_outputs(kind: str, tmp_path: Path) -> None:
    done = export_network(lenet(), images(), tmp_path / f"net{SUFFIX[kind]}")
    if kind == "torchscript":
        found = torch.jit.load(done.path)(images(2))
        assert found._fields == ("logits", "embedding")
        assert found[0] is found.logits
    else:
        assert list(torch.export.load(done.path).module()(images(2))) == ["logits", "embedding"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18_32x32", "torchvision:mobilenet_v3_small", "timm:vit_tiny_patch16_224"])
def test_networks_of_the_registry_torchvision_and_timm_are_exported(name: str, tmp_path: Path) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    done = export_network(networks.build(name, 6), images(4, 224 if "224" in name else 32), tmp_path / "net.pt2")
    assert done.logits_error <= 1e-4
    assert done.embedding_error <= 1e-4


def test_a_named_head_gives_the_logits_before_what_the_network_makes_of_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, batch = Softmax().eval(), torch.rand(5, 3, 2, 2)
    with pytest.raises(HeadError, match="name one"):
        export_network(model, batch, tmp_path / "net.pt2")
    export_network(model, batch, tmp_path / "net.pt2", head="head")
    logits = torch.export.load(tmp_path / "net.pt2").module()(batch)["logits"]
    assert not torch.allclose(logits.sum(dim=1), torch.ones(5))
    assert torch.allclose(logits.softmax(dim=1), model(batch), atol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_what_does_not_give_what_the_network_gives_is_not_written(kind: str, tmp_path: Path) -> None:
    np.random.seed(0)
    target = tmp_path / f"net{SUFFIX[kind]}"
    target.write_bytes(b"an earlier one")
    with pytest.raises(ExportError, match="random numbers"):
        export_network(Constant().eval(), torch.rand(8, 3, 2, 2), target, head="head")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"an earlier one"]


@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_a_network_that_branches_on_its_input_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot be exported|may fix the batch size") as error:
        export_network(Branching().eval(), torch.rand(5, 3, 2, 2), tmp_path / f"net{SUFFIX[kind]}", head="head")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_network_that_fixes_the_batch_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"batch|other"):
        export_network(FixedBatch().eval(), torch.rand(5, 3, 2, 2), tmp_path / "net.pt", head="head")
    assert not list(tmp_path.iterdir())


def test_a_head_that_is_fed_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="fed a tensor of shape"):
        export_network(Tokens().eval(), torch.rand(5, 3, 4, 2), tmp_path / "net.pt")


def test_the_suffix_chooses_the_format() -> None:
    assert format_of(Path("a.onnx"), None) == "onnx"
    assert format_of(Path("a.bin"), "torchscript") == "torchscript"
    with pytest.raises(ExportError, match="stands for no format"):
        format_of(Path("a.bin"), None)
    with pytest.raises(SettingsError, match="onnx"):
        format_of(Path("a.bin"), "onx")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"\x08\x01not an onnx file"])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(ExportError):
        read_about(tmp_path / "net.onnx")


def test_match_knows_an_artifact_of_another_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batch = lenet(), images(40)
    loader = [(batch, torch.arange(40) % 8)]
    line = LINe(p_w=10, p_a=10, clip=1.0).fit(model, loader)
    line.save(tmp_path / "line.safetensors")
    export_network(model, batch[:5], tmp_path / "net.pt2")
    assert main(["match", str(tmp_path / "net.pt2"), str(tmp_path / "line.safetensors")]) == 0
    assert "belong together" in capsys.readouterr().out

    with torch.no_grad():  # the same head on another body
        next(model.parameters()).mul_(1.5)
    export_network(model, batch[:5], tmp_path / "tuned.pt2")
    assert main(["match", str(tmp_path / "tuned.pt2"), str(tmp_path / "line.safetensors")]) == 1
    assert "the layers before its head" in capsys.readouterr().err

    export_network(lenet(1), batch[:5], tmp_path / "other.pt2")
    assert main(["match", str(tmp_path / "other.pt2"), str(tmp_path / "line.safetensors")]) == 1
    assert "its head has other weights" in capsys.readouterr().err
