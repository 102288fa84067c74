"""Many runs as one study: `grid` reads its file, `runner` trains it, `report` sets it beside the paper."""
