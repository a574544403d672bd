"""All errors that this package raises, as one tree of exceptions.

::

    LinePluginError ├── SettingsError            a value outside its range, an unknown name ├── FeatureError features
    that cannot be scored or fitted │   ├── WidthError           the feature width is not the head's │   └──
    NonFiniteError       NaN or Inf among the features ├── FitError                 labels or images that cannot be
    fitted │   └── EmptyClassError      a class has no image ├── NotFittedError           score before fit ├──
    CalibrationError         a calibration set that cannot support what is asked ├── HeadError                the
    network has no usable Linear head ├── CheckpointError          a checkpoint that cannot be read or does not fit the
    network ├── ArtifactError            a fitted file that cannot be used │   ├── ArtifactCorruptError   the file's
    bytes have changed │   └── ArtifactVersionError   written by a newer release ├── ExportError              a network
    that cannot be exported for a model server ├── ClusterError             Ray does not start, cannot be reached, or
    loses work ├── OpenOODError             upstream OpenOOD, or a library it needs, is missing ├── MissingLibraryError
    a library of an extra that is not installed └── DataError                image lists, images, benchmark files
        ├── MissingDataError     a data set that is missing, and where to get it
        └── ImageError           an image that cannot be decoded

Each message is one line: what was given, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LinePluginError(Exception):
    """Base of every error this package raises on purpose."""


class SettingsError(LinePluginError, ValueError):
    """A setting is outside its range, or a name is not known."""


class FeatureError(LinePluginError, ValueError):
    """Features cannot be scored or fitted."""


class WidthError(FeatureError):
    """The features are not as wide as the head."""


class NonFiniteError(FeatureError):
    """The features hold NaN or Inf."""


class FitError(LinePluginError, ValueError):
    """Labels or images cannot be fitted."""


class EmptyClassError(FitError):
    """A class has no training image, so its neurons have no contribution."""


class NotFittedError(LinePluginError, RuntimeError):
    """An object was used for scoring before it was fitted."""


class CalibrationError(LinePluginError, ValueError):
    """A calibration set cannot support what is asked of it."""


class HeadError(LinePluginError, ValueError):
    """No ``Linear`` head was found, or the named one is not usable."""


class CheckpointError(LinePluginError, ValueError):
    """A checkpoint cannot be read, or its tensors do not fit the network."""


class ArtifactError(LinePluginError, ValueError):
    """A fitted file cannot be used."""


class ArtifactCorruptError(ArtifactError):
    """The file does not hold the bytes that were written."""


class ArtifactVersionError(ArtifactError):
    """The file was written by a newer release."""


class ExportError(LinePluginError, ValueError):
    """A network cannot be exported, or an exported file cannot be used."""


class ClusterError(LinePluginError, RuntimeError):
    """Ray does not start, cannot be reached, or loses its work again and again."""


class ClusterWarning(UserWarning):
    """A Ray actor failed, but the run continues."""


class OpenOODError(LinePluginError, ImportError):
    """Upstream OpenOOD, or a library that it needs here, is not installed."""


class MissingLibraryError(LinePluginError, ImportError):
    """A library that an extra installs is needed but not installed."""


class DataError(LinePluginError, ValueError):
    """An image list, a benchmark file or an image cannot be used."""


class MissingDataError(DataError):
    """A data set is not in the expected folder."""


class ImageError(DataError):
    """An image cannot be decoded."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingsError:
    """The error for a name that is not known, offering the nearest one.

    Args:
        kind: what is named, for the message (``"method"``).
        name: the unknown name.
        known: the names that exist.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return SettingsError(f"unknown {kind} {name!r}: {hint}known: {', '.join(names)}")
