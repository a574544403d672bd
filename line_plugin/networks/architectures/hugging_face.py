"""An image classifier of transformers as a module from images to logits. Its code is part of fingerprints."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class HuggingFaceClassifier(nn.Module):
    """Images (N, 3, H, W) to logits (N, K).

    Args:
        net: the classifier of transformers.
        config_sha256: the SHA-256 of its configuration. It is part of the ``repr`` and so of fingerprints, since two
            networks may have the same tensors and modules but different numbers of attention heads.
    """

    def __init__(self, net: Any, config_sha256: str) -> None:
        super().__init__()
        self.net = net
        self._config_sha256 = config_sha256

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.net(pixel_values=images).logits
        return logits

    def extra_repr(self) -> str:
        """The hash of the configuration, which the modules do not show."""
        return f"config={self._config_sha256}"
