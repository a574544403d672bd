"""Preprocessing: what is written of it, and what the flags make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision import transforms as tv

from line_plugin.benchmark.protocol import images
from line_plugin.benchmark.protocol.spec import Preprocessing
from line_plugin.cli import options, parser

USUAL = {"resize": 256, "crop": 224, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}


def test_the_usual_preprocessing_is_written_as_before_there_was_a_choice() -> None:
    """Cache keys and artifacts hold it: with another key, every feature would be computed again."""
    assert Preprocessing.model_validate(USUAL).model_dump() == USUAL
    assert list(Preprocessing.model_validate(USUAL).model_dump()) == ["resize", "crop", "mean", "std"]


@pytest.mark.parametrize("more", [{"interpolation": "bicubic"}, {"resize": (32, 48)}, {"resize": None, "crop": None}])
def test_what_is_written_is_read_back_and_is_not_the_usual(more: dict[str, object]) -> None:
    made = Preprocessing.model_validate({**USUAL, **more})
    assert Preprocessing.model_validate_json(made.model_dump_json()) == made
    assert made.model_dump() != USUAL


@pytest.mark.parametrize("wrong", [{"resize": 0}, {"resize": (0, 3)}, {"crop": -1}, {"interpolation": "cubic"}])
def test_what_makes_no_image_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate({**USUAL, **wrong})


def test_flags_change_one_thing_each_and_pixels_are_those_of_torchvision() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))
    flags = ["--resize", "40x36", "--crop", "32", "--interpolation", "lanczos"]
    args = parser().parse_args(["eval", "--id-data", "imagenet", *flags])
    found = options.benchmark_of(args).preprocessing
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    theirs = tv.Compose(
        [
            tv.Resize((40, 36), interpolation=tv.InterpolationMode.LANCZOS),
            tv.CenterCrop(32),
            tv.ToTensor(),
            tv.Normalize(found.mean, found.std),
        ]
    )
    assert torch.equal(images.transform(found)(image), theirs(image))
    none = options.benchmark_of(parser().parse_args(["eval", "--resize", "0", "--crop", "0"])).preprocessing
    assert images.transform(none)(image).shape == (3, 50, 70)
    with pytest.raises(SystemExit):
        parser().parse_args(["eval", "--resize", "40x"])
