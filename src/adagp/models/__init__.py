"""The fourteen models of the paper by name, and the tools that fit them to a width and to small images."""

from ._summary import summary
from ._surgery import small_image_stem, thin
from ._transformer import Transformer
from ._zoo import available, create, example_input, input_shape

__all__ = [
    "Transformer",
    "available",
    "create",
    "example_input",
    "input_shape",
    "small_image_stem",
    "summary",
    "thin",
]
