"""A zoo of models with known truth that judges escrime's verdicts: `python -m tests.zoo --help`, tests/test_zoo.py.

One file per family of mechanisms; `members.py` lists them all, `truth.py` finds what is true of each, `judge.py` holds the
verdict against it. The models are as naive as their authors would write them: nothing in them helps an attack, and escrime is
told nothing about them.
"""
