"""Pure rules: values in, values out. No I/O, no clock, no randomness that was not handed in.

The file to open first is ``job``; ``codec`` says how a job lies in Redis and ``outcome`` what a run can come to.
"""
