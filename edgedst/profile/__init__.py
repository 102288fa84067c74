"""What a training run costs: floating-point operations here; memory, energy and side-by-side timings beside it."""
