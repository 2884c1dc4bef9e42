"""One function a figure or table. Each returns (matplotlib Figure, pandas DataFrame of what it shows)."""

from . import _style as style

__all__ = ["style"]
