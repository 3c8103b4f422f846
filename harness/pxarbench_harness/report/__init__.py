"""Reports, all made from records alone."""

from . import render, rfc
from .build import Report, build

__all__ = ["Report", "build", "render", "rfc"]
