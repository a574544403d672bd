"""Send image files to a served classifier, over and over, as its users would.

    python examples/send_images.py shapes/images/test --count 2000 --rate 50

The id of each request is the path of its image below the current folder, with the number of the request behind it: an
alert that lists requests lists files. Only Python is needed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit


def main() -> None:
    """Send them."""
    parser = argparse.ArgumentParser(description="send image files to a served classifier")
    parser.add_argument("folders", type=Path, nargs="+", help="images, also in folders below")
    parser.add_argument("--url", default="http://127.0.0.1:8000/predict/image", help="(%(default)s)")
    parser.add_argument("--count", type=int, default=1000, help="requests (1000)")
    parser.add_argument("--rate", type=float, default=50, help="requests a second, at most (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    options = parser.parse_args()
    files = [
        p for folder in options.folders for p in sorted(folder.rglob("*")) if p.suffix in (".png", ".jpg", ".jpeg")
    ]
    if not files:
        sys.exit(f"no .png or .jpg image in {', '.join(map(str, options.folders))}")
    try:
        classes = send(files, options)
    except OSError as error:
        sys.exit(f"{options.url} does not answer ({error}): is the server running?")
    print(f"{options.count} requests answered; classes: " + ", ".join(f"{k}: {n}" for k, n in sorted(classes.items())))


def send(files: Sequence[Path], options: argparse.Namespace) -> dict[int, int]:
    """One request after the other on one connection; how often each class was answered."""
    target, chance, classes = urlsplit(options.url), random.Random(options.seed), dict[int, int]()
    connection = http.client.HTTPConnection(target.netloc, timeout=30)
    begin = time.monotonic()
    for n in range(options.count):
        time.sleep(max(0.0, begin + n / options.rate - time.monotonic()))
        path = chance.choice(files)
        headers = {"content-type": "application/octet-stream", "x-request-id": f"{quote(path.as_posix())}:{n}"}
        connection.request("POST", target.path, path.read_bytes(), headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            sys.exit(f"{path} was answered with {answer.status}: {said.decode(errors='replace')[:300]}")
        found = int(json.loads(said)["class"])
        classes[found] = classes.get(found, 0) + 1
    return classes


if __name__ == "__main__":
    main()
