"""Datasets: recipes (datasets/*.toml) and the cached trees made from them."""

from .prepare import Dataset, DatasetFailed, prepare
from .recipe import Recipe, load, names

__all__ = ["Dataset", "DatasetFailed", "Recipe", "load", "names", "prepare"]
