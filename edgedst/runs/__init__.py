"""Runs on the disk: `folder` makes one, `state` and `checkpoint` save and restore it, `find` says which is meant.

`folder`, `state`, `checkpoint` and `episode` are the lean trainer's, and import the standard library only. `actor`,
`recorded` and `reading` are for whoever reads a run afterwards. The formats stand in docs/formats.md.
"""
