"""The benchmark and regression harness: datasets, mutations, subjects, measuring, checking, reporting.

harness/README.md draws the road of a case through these modules.
"""
