"""Makes upstream OpenOOD importable with today's libraries, and runs it without CUDA.

Every change ends with its ``with`` block, and nothing is changed unless upstream needs it. The plain import is tried
first. A stand-in is made only for a library that cannot be imported. A device is replaced only if upstream asks for
``cuda``. Once upstream imports by itself and accepts a device, this module does nothing and can be deleted.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from line_plugin.errors import OpenOODError

COMMIT = "3c35632ee91b54b09d1f085d04f94744cece7d0b"
"""The commit of upstream that the tests run against."""

HOW_TO_INSTALL = (
    f'pip install --no-deps "openood @ git+https://github.com/Jingkang50/OpenOOD@{COMMIT}" and pip install pandas tqdm '
    "(not `pip install openood`: OpenOOD is on no package index)"
)

STAND_INS = {
    # module: (package, what of upstream uses it). All are imported by `import openood.evaluation_api`.
    "libmr": ("libmr", "OpenMax"),  # undeclared; its build needs numpy, cython and a compiler
    "statsmodels": ("statsmodels", "AdaScale"),  # undeclared
    "timm": ("timm", "adversarial attacks"),  # undeclared
    "foolbox": ("foolbox", "adversarial attacks"),  # undeclared
    "imgaug": ("imgaug with numpy 1", "DRAEM"),  # reads np.sctypes, gone in numpy 2; no release since 2020
    "cv2": ("opencv-python", "DRAEM, PatchCore"),
    "diffdist": ("diffdist", "CSI training"),
    "faiss": ("faiss-cpu", "KNN, NNGuide, CIDER, NPOS, GrOOD, PatchCore"),
    "gdown": ("gdown", "downloading data sets"),
}


class _StandIn(ModuleType):
    """A module that has a class for any name. Using such a class raises an error that names the missing library."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        package, users = STAND_INS[self.__name__.partition(".")[0]]

        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise OpenOODError(
                f"OpenOOD called {self.__name__}.{name}, which cannot be imported here "
                f"(needed for {users}): pip install {package}"
            )

        return type(name, (), {"__new__": refuse})  # a class, so that upstream may inherit from it


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for ``libraries`` and their submodules."""

    def __init__(self, libraries: frozenset[str]) -> None:
        self._libraries = libraries

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        wanted = name.partition(".")[0] in self._libraries
        return ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing, since a stand-in has no code to run."""


@functools.cache
def _unusable() -> frozenset[str]:
    """Find the libraries of :data:`STAND_INS` whose import fails, because they are absent or broken."""
    return frozenset(library for library in STAND_INS if not _imports(library))


def _imports(library: str) -> bool:
    try:
        if importlib.import_module(library).__file__:
            return True  # otherwise it is a folder of that name on the path, not the library
    except Exception:  # noqa: S110 - whatever a broken one raises: imgaug an AttributeError, cv2 an ImportError
        pass
    for name in [n for n in sys.modules if n == library or n.startswith(f"{library}.")]:
        del sys.modules[name]
    return False


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Within this context, libraries that cannot be imported are replaced by stand-ins.

    Afterwards no stand-in is left in ``sys.modules``, so ``import cv2`` fails elsewhere as it did before.
    """
    finder = _Finder(_unusable())
    sys.meta_path.insert(0, finder)  # comes first, since a broken library would be found too
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if isinstance(m, _StandIn)]:
            del sys.modules[name]


class _CudaIs(TorchFunctionMode):
    """Torch calls of this thread that ask for CUDA get ``device``.

    Upstream hard-codes ``.cuda()`` in its Evaluator, its BasePostprocessor and 32 methods, and ``device='cuda'`` in
    temperature scaling. ``Module.cuda`` calls ``Tensor.cuda`` for every parameter, so it is not replaced itself.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return args[0].to(self.device)
        if _is_cuda(kwargs.get("device")):
            kwargs = {**kwargs, "device": self.device}
        if func is torch.Tensor.to:
            args = tuple(self.device if _is_cuda(a) else a for a in args)
        return func(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return (isinstance(device, str) and device.partition(":")[0] == "cuda") or (
        isinstance(device, torch.device) and device.type == "cuda"
    )


@contextlib.contextmanager
def running(device: torch.device | str) -> Iterator[None]:
    """Within this context, calls of upstream for CUDA get ``device``. Does nothing if that is CUDA's default."""
    device = torch.device(device)
    if device.type == "cuda" and (device.index is None or device.index == torch.cuda.current_device()):
        yield
        return
    with _CudaIs(device):
        yield


def import_upstream() -> None:
    """Import upstream's evaluation API and methods.

    Raises:
        OpenOODError: it is not installed, or a library that it always needs is missing.
    """
    with contextlib.suppress(Exception):
        _import_upstream()
        return  # upstream needs nothing replaced
    try:
        with importing():
            _import_upstream()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "openood":
            raise OpenOODError(f"OpenOOD is not installed: {HOW_TO_INSTALL}") from error
        raise OpenOODError(f"OpenOOD cannot be imported ({error}): pip install {missing}") from error
    except ImportError as error:
        raise OpenOODError(f"what is installed as `openood` is not OpenOOD v1.5 ({error}): {HOW_TO_INSTALL}") from error


def _import_upstream() -> None:
    importlib.import_module("openood.evaluation_api")
    importlib.import_module("openood.postprocessors.utils")
