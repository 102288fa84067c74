"""Logs: transitions as tables that other programs read and write. docs/formats.md has their columns.

`convert` reads one for `edgedst train --prefill`, in a process of its own; `transitions` writes a run's replay as one.
"""
