"""Datasets: recipes (datasets/*.toml) and the cached trees made from them. `python3 -m pxarbench_harness.datasets --help`."""

from .prepare import Dataset, DatasetFailed, prepare, verify
from .recipe import Recipe, load, names
from .steps import Step

__all__ = ["Dataset", "DatasetFailed", "Recipe", "Step", "load", "names", "prepare", "verify"]
