"""Energy of a run or a profile in joules, measured where there is a sensor: which sources a host has, and their meter.

`sources` finds them in the front end; `meter` and what it imports are lean, since the trainer runs them.
"""
