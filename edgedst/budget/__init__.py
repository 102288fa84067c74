"""The memory budget: `plan` says before a run what it will take, `guard` measures and enforces while it runs."""
