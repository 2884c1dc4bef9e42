"""Let torchvision be imported beside a CPU-only torch.

torchvision's wheel on the package index is linked against CUDA. Beside a CPU build of torch its compiled operators do not
load, and ``import torchvision`` then fails because it registers a shape function for an operator that does not exist. Declaring
the two operators it needs is enough for models, data sets and transforms. Where torchvision's own library loads, nothing is
changed. Import torchvision through this module: ``from .._torchvision import torchvision``.
"""

import importlib.util
from pathlib import Path

import torch

from ._errors import require

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _operators_load() -> bool:
    require("torchvision")
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    for library in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(str(library))
        except (OSError, RuntimeError):
            return False
    return hasattr(torch.ops.torchvision, "nms")


if not _operators_load():
    _library = torch.library.Library("torchvision", "DEF")  # kept: the declarations live as long as this object
    for _schema in _SCHEMAS:
        _library.define(_schema)

import torchvision  # noqa: E402

__all__ = ["torchvision"]
