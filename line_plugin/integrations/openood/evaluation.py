"""Runs upstream's own Evaluator as a function."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from line_plugin.errors import MissingDataError, OpenOODError, unknown_name
from line_plugin.integrations.openood import compat
from line_plugin.integrations.openood.registry import NAMES, register
from line_plugin.shipped import config_dir


def evaluate_with_openood(
    net: nn.Module,
    id_name: str,
    data_root: str | Path,
    method: str = "line",
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 200,
    num_workers: int = 4,
    fsood: bool = False,
    sweep: bool | None = None,
    preprocessor: Callable[..., Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    config_root: str | Path | None = None,
    after_fit: Callable[[Any], None] | None = None,
) -> dict[str, dict[str, float]]:
    """Evaluates ``net`` with upstream's Evaluator. Upstream's output goes to stderr.

    Args:
        net: a classifier; moved to ``device``. ``react``, ``ash``, ``dice`` and others need methods of upstream's
            networks (``return_feature``, ``get_fc``); ``line`` and ``panel`` do not.
        id_name: upstream's benchmark: cifar10, cifar100, imagenet200, imagenet.
        data_root: upstream's data root. It must hold every set; nothing is downloaded.
        method: upstream's name of the postprocessor.
        fsood: count the covariate-shifted ID sets as ID.
        sweep: choose hyper-parameters on the validation sets: True for every method that lists some, False for none,
            None uses the method's YAML file (``APS_mode``).
        preprocessor: image transform; by default upstream's for the benchmark.
        settings: replace the YAML file's ``postprocessor_args``, name by name.
        config_root: a folder with ``postprocessors/<method>.yml``, which wins over the one shipped here.
        after_fit: called with the postprocessor once it is fitted and searched. ``postprocessor.line.choice`` holds the
            clips that LINe tried.

    Returns:
        Upstream's table, in percent: ``{"cifar100": {"FPR@95": ..., "AUROC": ..., "AUPR_IN": ..., "AUPR_OUT": ...,
        "ACC": ...}, ..., "nearood": ..., "farood": ...}``.

    Raises:
        OpenOODError: upstream is not installed, or cannot run this method on this network.
        MissingDataError: a set is missing; the message names its folder.
        SettingsError: the benchmark or method is unknown.
    """
    register()
    from openood.evaluation_api import Evaluator

    _require_data(id_name, Path(data_root), fsood)
    net.to(device)
    with contextlib.redirect_stdout(sys.stderr), compat.running(device), _explain_errors(method, net):
        postprocessor = _postprocessor(method, id_name, sweep, dict(settings or {}), config_root)
        evaluator = Evaluator(
            net,
            id_name,
            data_root=str(data_root),
            preprocessor=preprocessor,
            postprocessor_name=method,  # upstream wraps the network by this name (ReAct, ASH)
            postprocessor=postprocessor,
            batch_size=batch_size,
            num_workers=num_workers,
        )
        if after_fit is not None:
            after_fit(postprocessor)
        table = evaluator.eval_ood(fsood=fsood)
    return {str(row): {str(k): float(v) for k, v in values.items()} for row, values in table.T.to_dict().items()}


def _postprocessor(
    method: str, id_name: str, sweep: bool | None, settings: dict[str, Any], config_root: str | Path | None
) -> Any:
    """Upstream's ``get_postprocessor`` without its download, and with ``settings``."""
    from openood.evaluation_api.postprocessor import postprocessors
    from openood.utils import Config

    roots = [Path(root) / "postprocessors" for root in (config_root, config_dir()) if root is not None]
    found = {path.stem: path for root in reversed(roots) for path in root.glob("*.yml") if path.stem in postprocessors}
    if method not in found:
        raise unknown_name("OpenOOD method", method, found)
    given = yaml.safe_load(found[method].read_text())["postprocessor"]
    given["postprocessor_args"] = {**(given.get("postprocessor_args") or {}), **settings}
    postprocessor = postprocessors[method](Config(postprocessor=given, dataset={"name": id_name}))
    wanted = given.get("APS_mode", False) if sweep is None else sweep
    postprocessor.APS_mode = bool(wanted and given.get("postprocessor_sweep"))
    postprocessor.hyperparam_search_done = False
    return postprocessor


@contextlib.contextmanager
def _explain_errors(method: str, net: nn.Module) -> Iterator[None]:
    """Explains errors of upstream's methods, which often call methods that only upstream's networks have."""
    try:
        yield
    except (AttributeError, TypeError) as error:
        if method in NAMES:
            raise
        raise OpenOODError(
            f"OpenOOD's {method!r} cannot run on {type(net).__name__} ({error}): it needs one of OpenOOD's networks"
        ) from error


def _require_data(id_name: str, data_root: Path, fsood: bool) -> None:
    """Refuses before upstream would download, since it fetches any set whose folder is missing or empty."""
    from openood.evaluation_api.datasets import DATA_INFO, benchmarks_dict, dir_dict

    if id_name not in DATA_INFO:
        raise unknown_name("OpenOOD benchmark", id_name, DATA_INFO)
    info = DATA_INFO[id_name]
    csid = {name: info["csid"][name] for name in info["csid"]["datasets"]}
    ood = {name: info["ood"][split][name] for split in ("near", "far") for name in info["ood"][split]["datasets"]}
    for name, entry in {**info["id"], "val (OOD)": info["ood"]["val"], **ood, **csid}.items():
        image_list = data_root / entry["imglist_path"]
        if not image_list.is_file():
            raise _describe_missing(f"the image list of {name}", image_list)
        if name not in csid or fsood:  # upstream opens every list, but reads these images only for a search
            _require_first_image(name, image_list, data_root / entry["data_dir"])
    for name in benchmarks_dict[id_name]:
        parent = next((key for key, names in dir_dict.items() if name in names), None)
        folder = data_root / parent / name if parent else None
        if folder is not None and not (folder.is_dir() and any(folder.iterdir())):
            raise _describe_missing(name, folder)


def _require_first_image(name: str, image_list: Path, images: Path) -> None:
    with image_list.open() as lines:
        first = next(lines, "").split(" ", 1)[0].strip()
    if not first:
        raise MissingDataError(f"the image list of {name} is empty: {image_list}")
    if not (images / first).is_file():
        raise _describe_missing(name, images / first)


def _describe_missing(what: str, path: Path) -> MissingDataError:
    return MissingDataError(
        f"{what} is missing: {path} (OpenOOD needs every set of the benchmark; "
        "scripts/download/download.py of its repository fetches them)"
    )
