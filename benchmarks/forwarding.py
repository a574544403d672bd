"""What a forward pass over images is made of: decoding beside it, and on a CPU its batch and memory format.

    OPENOOD_LINE_DATA=FOLDER python -m benchmarks.forwarding --json out.json

Networks are untrained. JPEGs are 500 x 375 crops of scikit-image's photographs; PNGs are CIFAR-10's. Every ratio is
taken in one run, way after way, the median over `--repeats`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import measure
from line_plugin import networks
from line_plugin.benchmark.protocol import images, spec
from line_plugin.networks.head import Head, find_head
from line_plugin.networks.tap import forward

LOADERS = [  # network, benchmark whose preprocessing it takes, images
    ("densenet100_12", "cifar10", 640),
    ("resnet18_32x32", "cifar10", 640),
    ("resnet50", "imagenet", 96),
    ("torchvision:mobilenet_v3_large", "imagenet", 192),
]
FORWARDS = [
    ("densenet100_12", 32, 200),
    ("resnet18_32x32", 32, 200),
    ("wrn_40_2", 32, 200),
    ("resnet50", 224, 64),
    ("torchvision:mobilenet_v3_large", 224, 96),
    ("vit_b_16", 224, 8),
]


def files_of(benchmark: str, count: int, folder: Path) -> tuple[Path, ...]:
    if benchmark == "imagenet":
        return tuple(measure.photographs(folder, count))
    data = measure.real_data()
    if data is None:
        raise SystemExit("not measured: no images; OPENOOD_LINE_DATA names no folder with openood/ in it")
    lines = (data / "openood/benchmark_imglist/cifar10/train_cifar10.txt").read_text().splitlines()
    return tuple(data / "openood/images_classic" / line.split()[0] for line in lines[:count])


def loading(repeats: int) -> list[dict[str, str | float]]:
    """Decoding and transforming alone, over the same with the forward pass; workers decode while the net computes."""
    rows = []
    for arch, benchmark, count in LOADERS:
        net = networks.build(arch, 10)
        with tempfile.TemporaryDirectory() as folder:
            job = images.Job(files_of(benchmark, count, Path(folder)), spec.load(benchmark).preprocessing)
            head = find_head(net, next(images.batches([job], 1, 0))[1])

            def decode(workers: int, job: images.Job = job) -> None:
                for _ in images.batches([job], 32, workers):
                    pass

            def whole(workers: int, job: images.Job = job, head: Head = head, net: Any = net) -> None:
                for _, batch in images.batches([job], 32, workers):
                    forward(net, head, batch)

            runs = [
                [measure.seconds(lambda w=w, f=f: f(w)) for f in (decode, whole) for w in (0, 2)]
                for _ in range(repeats)
            ]
        alone0, alone2, _, whole2 = (1e3 * statistics.median(r[i] for r in runs) / count for i in range(4))
        rows.append(
            {
                "network": arch,
                "images": f"{count} {'JPEG' if benchmark == 'imagenet' else 'PNG'}",
                "decode, one process, ms": alone0,
                "decode, 2 workers, ms": alone2,
                "decode and forward, 2 workers, ms": whole2,
                "share of the loader, 2 workers": statistics.median(r[1] / r[3] for r in runs),
                "decode and forward, 0 workers / 2": statistics.median(r[2] / r[3] for r in runs),
            }
        )
    return rows


def decoders(count: int) -> list[dict[str, str | float]]:
    """Pillow as OpenOOD uses it, and torchvision's own decoder with v2 transforms on tensors."""
    from torchvision import io
    from torchvision.transforms import v2

    settings = spec.load("imagenet").preprocessing
    exact = images.transform(settings)
    tensors = v2.Compose(
        [
            v2.Resize(settings.resize, antialias=True),
            v2.CenterCrop(settings.crop),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(settings.mean), list(settings.std)),
        ]
    )
    from PIL import Image

    def pillow(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            return exact(image.convert("RGB"))

    def torchvision(path: Path) -> torch.Tensor:
        return tensors(io.decode_image(str(path), mode=io.ImageReadMode.RGB))  # type: ignore[no-any-return]

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a data worker
    with tempfile.TemporaryDirectory() as folder:
        paths = measure.photographs(Path(folder), count)
        pillow(paths[0]), torchvision(paths[0])
        times = [(measure.seconds(lambda p=p: pillow(p)), measure.seconds(lambda p=p: torchvision(p))) for p in paths]
        apart = max(float((pillow(p) - torchvision(p)).abs().max()) * 255 * settings.std[0] for p in paths[:20])
    torch.set_num_threads(threads)
    return [
        {
            "": "224 pixels from JPEG, one core",
            "Pillow, ms": 1e3 * statistics.median(a for a, _ in times),
            "torchvision.io and v2, ms": 1e3 * statistics.median(b for _, b in times),
            "ratio": statistics.median(a / b for a, b in times),
            "largest difference, grey levels of 255": apart,
        }
    ]


def layouts(repeats: int, only: set[str]) -> list[dict[str, str | float]]:
    """Wall time of an image's forward pass over the usual order at OpenOOD's batch of 200."""
    rows = []
    for arch, side, count in FORWARDS:
        if only and arch not in only:
            continue
        net, x = networks.build(arch, 10), torch.randn(count, 3, side, side)
        found = find_head(net, x)
        usual = Head(found.path, found.linear)
        ways = {"usual, 200": (usual, 200), "usual, 32": (usual, 32), "channels last, 32": (found, 32)}
        forward(net, usual, x[:8])
        runs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(repeats):
            for way, (head, size) in ways.items():
                start, cpu = time.perf_counter(), time.process_time()
                for batch in x.split(size):
                    forward(net, head, batch)
                runs[way].append((time.perf_counter() - start, time.process_time() - cpu))
        row: dict[str, str | float] = {"network": f"{arch}, {min(count, 200)} images at most a batch"}
        row["usual, 200: ms/image"] = 1e3 * statistics.median(t for t, _ in runs["usual, 200"]) / count
        for way in list(ways)[1:]:
            for i, what in enumerate(("time", "CPU time")):
                pairs = zip(runs[way], runs["usual, 200"], strict=True)
                row[f"{way}: {what}"] = statistics.median(a[i] / b[i] for a, b in pairs)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("loading", "layouts"), action="append")
    parser.add_argument("--networks", nargs="*", default=[], help="of the layouts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    wanted, tables = args.only or ["loading", "layouts"], {}
    if "loading" in wanted:
        tables["Loader"] = loading(args.repeats)
        tables["Decoders"] = decoders(60)
    if "layouts" in wanted:
        tables["Batch and memory format on a CPU"] = layouts(args.repeats, set(args.networks))
    measure.show(measure.about(f"medians of {args.repeats} runs, way after way"), tables, args.json)


if __name__ == "__main__":
    main()
