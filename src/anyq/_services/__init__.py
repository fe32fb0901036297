"""Duties: what the worker's nursery runs.

One duty, one file; each is built from the verbs and channel ends that it needs, and ends when its input ends.
`channels` is the wiring diagram, ``worker.py`` connects it.
"""
