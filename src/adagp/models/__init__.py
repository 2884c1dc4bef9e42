"""The models of the paper by name, and the tools that fit them to a width and to small images.

Names and shapes are known without torch, which is imported with the first model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._names import FOURTEEN, available, input_shape

if TYPE_CHECKING:
    from ._summary import summary
    from ._surgery import small_image_stem, thin
    from ._transformer import Transformer
    from ._yolo import YOLOv3
    from ._zoo import create, example_input

__all__ = [
    "FOURTEEN",
    "Transformer",
    "YOLOv3",
    "available",
    "create",
    "example_input",
    "input_shape",
    "small_image_stem",
    "summary",
    "thin",
]

_LATER = {
    "Transformer": "._transformer",
    "YOLOv3": "._yolo",
    "create": "._zoo",
    "example_input": "._zoo",
    "small_image_stem": "._surgery",
    "summary": "._summary",
    "thin": "._surgery",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
