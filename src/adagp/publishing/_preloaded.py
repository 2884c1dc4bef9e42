"""What the kernels' server imports and reads before it forks (see ``_kernels``): what most pages need.

Not ``matplotlib_inline.backend_inline``, which shows figures only if it is imported while a kernel runs.
"""

import contextlib

import ipykernel.kernelapp  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import myst_nb.ext.glue  # noqa: F401
import sacrebleu  # noqa: F401
import scipy.stats  # noqa: F401
import seaborn  # noqa: F401
import tokenizers  # noqa: F401

from .. import _torchvision, measuring, training  # noqa: F401

# isort: split
import timm  # noqa: F401  imports torchvision

from .._errors import UsageError
from ..evidence import recorded
from . import _kernels  # noqa: F401

with contextlib.suppress(UsageError):  # the page that asks for records says what is wrong with them
    recorded(refuse=lambda error: None)
