"""All short sequences of changes to a small tree whose files sit at, before and after the edges of chunks.

garden.py holds a tree twice, on disk and as a model; base.py plants it; operations.py changes it; oracle.py says what a
metadata run must then find changed and what it must miss; streams.py reads what the run stored, by a road of its own;
invariants.py says what no archive may violate; cases.py runs and checks one case; search.py goes through all of them.
generations.py and series.py are the long way: many runs, each with the one before as reference.
"""
