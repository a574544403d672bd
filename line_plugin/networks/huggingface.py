"""Loads image classifiers of Hugging Face's transformers from a folder, without downloads or code from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
_CONFIG, _IMAGES = "config.json", "preprocessor_config.json"
_LARGEST = 16 << 20  # the most bytes of a JSON file; the labels of ImageNet-21k take 1.3 MB
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers
# Processors that resize, crop, divide by 255 and normalise, in this order, as their files say, and nothing else.
_KNOWN = frozenset(
    {"ViT", "DeiT", "Beit", "Bit", "ConvNext", "ConvNeXT", "MobileNetV1", "MobileNetV2", "CLIP", "Siglip"}
)
_KINDS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")


def load_folder(folder: Path) -> nn.Module:
    """Loads the classifier from a folder that ``save_pretrained`` wrote, in eval mode and float32.

    Returns:
        A module from images (N, 3, H, W) float to logits (N, K); the classifier of transformers is its ``net``.

    Raises:
        SettingsError: the folder does not hold such a classifier, or transformers is not installed. CheckpointError:
            its weights are not safetensors, cannot be read, or are incomplete.
    """
    config = _read_json(folder, _CONFIG)
    if "auto_map" in config:
        raise SettingsError(
            f"{folder} wants to run code that it brings along, which is never done: give --model instead"
        )
    if not (folder / "model.safetensors").is_file():
        _check_shards(folder)
    net = _load(folder, str(config.get("model_type", "")))
    from line_plugin.networks.architectures.hugging_face import HuggingFaceClassifier

    return HuggingFaceClassifier(net, _digest(net)).eval()


def _check_shards(folder: Path) -> None:
    """Whether the weights are in several safetensors files of the folder, and nothing else."""
    index = folder / "model.safetensors.index.json"
    weights = _read_json(folder, index.name).get("weight_map") if index.is_file() else None
    files = {str(name) for name in weights.values()} if isinstance(weights, dict) else set()
    other = sorted(name for name in files if not name.endswith(".safetensors") or Path(name).name != name)
    if other or not files:
        what = f"{index} names {other[0]!r}" if other else f"{folder} holds no model.safetensors"
        raise CheckpointError(
            f"{what}, and other formats can hold code: write it with "
            "model.save_pretrained(FOLDER, safe_serialization=True)"
        )


def _load(folder: Path, kind: str) -> Any:
    try:
        import torch
        from transformers import AutoModelForImageClassification
        from transformers.utils import logging
    except ImportError as error:
        raise SettingsError(
            f"{PREFIX}{folder} needs transformers, which is not installed: pip install 'openood-line[transformers]'"
        ) from error
    try:
        with _silent(logging):
            # The absolute path of an existing folder is never taken for the name of a repository.
            net, found = AutoModelForImageClassification.from_pretrained(
                str(folder.resolve()),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # a wrong file may raise anything, since the library has no exceptions of its own
        raise CheckpointError(
            f"{folder} cannot be loaded as an image classifier of transformers ({_first_line(error)}): save it again "
            "with save_pretrained"
        ) from error
    lacking = sorted(found["missing_keys"])
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise CheckpointError(
            f"{folder} has no weights for {lacking[0]}{more}: it is not a whole {kind} classifier; train "
            "its head first, then save all of it"
        )
    return net


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """Silences transformers' tables of keys and its progress bar. Errors are one line of ours."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _digest(net: Any) -> str:
    """SHA-256 of the configuration without the folder's path."""
    config = {k: v for k, v in net.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def read_preprocessing(folder: Path) -> dict[str, Any]:
    """Reads ``preprocessor_config.json`` as ``resize``, ``crop``, ``mean``, ``std`` and ``interpolation``.

    Raises:
        SettingsError: the file is missing, or has a step other than resize, crop, division by 255 or normalisation.
    """
    config = _read_json(folder, _IMAGES)
    path = folder / _IMAGES
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    name = next((kind.removesuffix(k) for k in _KINDS if kind.endswith(k)), kind)
    if name not in _KNOWN:
        raise _unknown(path, f"is of type {kind or '(none)'}, known: {', '.join(sorted(_KNOWN))}")
    extra = [k for k in ("do_pad", "do_flip_channel_order", "rescale_offset", "do_grayscale") if config.get(k)]
    if extra:
        raise _unknown(path, f"asks for {extra[0]}")
    if not config.get("do_rescale", True) or abs(float(config.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-6:
        raise _unknown(path, "does not divide by 255")
    try:
        resize, crop = _geometry(config, shortest=name not in ("ViT", "DeiT", "Beit"))
        interpolation = _RESAMPLE[int(config.get("resample", 2))]
        normalise = bool(config.get("do_normalize", True))
        mean = tuple(map(float, config["image_mean"])) if normalise else (0.0, 0.0, 0.0)
        std = tuple(map(float, config["image_std"])) if normalise else (1.0, 1.0, 1.0)
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(path, f"has no usable {str(error) or 'size'}") from error
    if len(mean) != 3 or len(std) != 3:
        raise _unknown(path, f"has {len(mean)} channels, expected 3")
    return {"resize": resize, "crop": crop, "mean": mean, "std": std, "interpolation": interpolation}


def _geometry(config: Mapping[str, Any], *, shortest: bool) -> tuple[int | tuple[int, int] | None, int | None]:
    """Reads the resize and the crop.

    Args:
        shortest: whether a single number is the shorter side; otherwise it is both sides.
    """
    resize: int | tuple[int, int] | None = None
    crop: int | None = None
    if config.get("do_resize", True):
        size = config["size"]
        if isinstance(size, int):
            size = {"shortest_edge": size} if shortest else {"height": size, "width": size}
        resize = int(size["shortest_edge"]) if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
        if (share := config.get("crop_pct")) is not None and isinstance(resize, int):  # the rule of ConvNeXt and ResNet
            resize, crop = (int(resize / float(share)), resize) if resize < 384 else ((resize, resize), None)
    if config.get("do_center_crop", False):
        size = config["crop_size"]
        sides = {int(size)} if isinstance(size, int) else {int(size["height"]), int(size["width"])}
        if len(sides) > 1:
            raise ValueError("square crop_size")
        (crop,) = sides
    return resize, crop


def _unknown(path: Path, what: str) -> SettingsError:
    return SettingsError(
        f"{path} {what}: say how images are prepared with --resize, --crop, --mean, --std, --interpolation"
    )


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    expected = "expected a folder that transformers' save_pretrained wrote"
    if not folder.is_dir():
        raise SettingsError(f"{PREFIX}{folder} is not a folder here, and nothing is downloaded: {expected}")
    try:
        if path.stat().st_size > _LARGEST:
            raise SettingsError(f"{path} has {path.stat().st_size:,} bytes, at most {_LARGEST:,} are read: {expected}")
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{folder} has no {name} that can be read ({error.strerror or error}): {expected}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not JSON ({_first_line(error)}): {expected}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds a {type(found).__name__}, expected an object: {expected}")
    return found


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
