"""Finding the head and tapping what enters it, on networks people use."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from line_plugin import LINe
from line_plugin.errors import HeadError
from line_plugin.method.fit import NegativeFeatureWarning
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward

TORCHVISION = {
    "resnet18": "fc",
    "densenet121": "classifier",
    "mobilenet_v3_small": "classifier.3",
    "vgg11": "classifier.6",
    "efficientnet_b0": "classifier.1",
    "convnext_tiny": "classifier.2",
    "regnet_x_400mf": "fc",
    "vit_b_32": "heads.head",
    "swin_t": "head",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "path"), TORCHVISION.items())
def test_the_head_of_torchvision_networks_is_found(name: str, path: str) -> None:
    from torchvision import models

    net = models.get_model(name, weights=None, num_classes=5).eval()
    side = 224 if name == "vit_b_32" else 64
    x = torch.randn(2, 3, side, side)
    head = find_head(net, x)
    assert head.path == path
    features, logits = forward(net, head, x)
    with torch.no_grad():
        torch.testing.assert_close(logits, net(x))
        torch.testing.assert_close(logits, head.linear(features))


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv4_conv_small", "mixnet_s"])
def test_the_head_of_timm_networks_is_found(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed (pip install 'openood-line[timm]')")
    net = timm.create_model(name, pretrained=False, num_classes=4).eval()
    assert find_head(net, torch.randn(1, 3, 64, 64)).linear.out_features == 4


class Softmaxed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(x).relu()).softmax(dim=1)


def test_a_network_that_goes_on_after_its_linear_names_the_candidates() -> None:
    with pytest.raises(HeadError, match=r"the last one run is 'last'.*body \(4 -> 6\), last \(6 -> 3\)"):
        find_head(Softmaxed(), torch.randn(2, 4))
    assert find_head(Softmaxed(), torch.randn(2, 4), "last").path == "last"


def test_a_network_without_a_linear_says_what_line_needs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(HeadError, match="runs no Linear layer at all: LINe needs a classifier"):
        find_head(net, torch.randn(1, 3, 4, 4))


def test_a_name_that_is_no_linear_is_refused_with_what_there_is() -> None:
    with pytest.raises(HeadError, match="no Linear at 'fc': this network has body"):
        find_head(Softmaxed(), torch.randn(1, 4), "fc")


def test_a_named_head_needs_no_image_and_forwards_none() -> None:
    net = Softmaxed()
    net.register_forward_pre_hook(lambda *_: pytest.fail("the network was run"))
    assert find_head(net, None, "last").path == "last"
    with pytest.raises(HeadError, match="neither a head nor an example"):
        find_head(net, None)


def test_a_head_over_a_map_is_refused() -> None:
    net = nn.Linear(4, 3)
    head = find_head(net, torch.randn(2, 7, 4), "")
    with pytest.raises(HeadError, match=r"fed a tensor of shape \(2, 7, 4\)"):
        forward(net, head, torch.randn(2, 7, 4))


def test_a_vit_is_fitted_with_a_message_about_negative_features() -> None:
    from torchvision import models

    net = models.vit_b_32(weights=None, num_classes=2)
    batch = (torch.randn(4, 3, 224, 224), torch.tensor([0, 1, 0, 1]))
    nn.init.normal_(net.heads.head.weight)
    with pytest.warns(NegativeFeatureWarning, match=r"before 'heads.head' are negative"):
        LINe(10, 10, 0.8).fit(net, [batch])


def test_a_relu_network_is_fitted_silently() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LINe(10, 10, 0.8).fit(net, [(torch.randn(8, 4), torch.arange(8) % 2)])


@pytest.mark.parametrize("wrapper", [lambda y: (y, None), lambda y: {"logits": y}, lambda y: [y]])
def test_logits_inside_a_tuple_or_dict_are_found(wrapper: object) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> object:
            return wrapper(self.fc(x))  # type: ignore[operator]

    assert find_head(Wrapped(), torch.randn(2, 4)).path == "fc"


def test_fitting_leaves_no_hook_behind() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    LINe(10, 10, 0.8).fit(net, [(torch.randn(8, 4), torch.arange(8) % 2)])
    assert not any(m._forward_hooks for m in net.modules())


class Viewing(nn.Module):
    """Flattens channels and pixels with ``view``, which needs them in the usual order in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().view(len(x), -1))


class ReadsMemory(nn.Module):
    """Takes the values as they lie in memory, whatever their axes: another layout is another answer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.as_strided((len(x), 48), (48, 1)))


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


@pytest.mark.parametrize(
    ("net", "shape", "layout"),
    [
        (pooled(), (3, 3, 8, 8), torch.channels_last),
        (Viewing(), (3, 3, 8, 8), torch.contiguous_format),
        (ReadsMemory(), (3, 3, 4, 4), torch.contiguous_format),
        (nn.Linear(7, 3), (3, 7), torch.contiguous_format),
    ],
    ids=["pooled", "view", "strides", "no image"],
)
@pytest.mark.parametrize("named", [False, True])
def test_images_go_in_channels_last_where_the_network_takes_them_so(
    net: nn.Module, shape: tuple[int, ...], layout: torch.memory_format, named: bool
) -> None:
    x = torch.randn(*shape)
    path = find_head(net, x).path if named else None
    head = find_head(net, x, path)
    assert head.layout == layout
    torch.testing.assert_close(forward(net, head, x)[1], net(x).detach())
    assert all(p.is_contiguous() for p in net.parameters()), "the network itself is left as it was"
