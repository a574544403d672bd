"""Networks by name, and the checkpoints that fit them.

The state-dict names are those of OpenOOD v1.5 (and so of the nets of the ReAct, DICE and LINe papers), which makes its
``best.ckpt`` files load without OpenOOD. The networks return logits and nothing else: :mod:`.head` finds the last layer
and :mod:`.tap` reads the features that enter it. Importing this package does not import torch.
"""

from __future__ import annotations

from line_plugin.networks.checkpoints import load_checkpoint
from line_plugin.networks.registry import build, names
from line_plugin.networks.user_models import load_user_model

__all__ = ["build", "load_checkpoint", "load_user_model", "names"]
