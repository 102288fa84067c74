"""How a run begins: `settings` and `board` say with what, `job` what the lean trainer is told and how it is started."""
