"""Models that other tools trained: read without running their code, fitted to edgedst's networks, made a run to begin
from. `model` is what a file is read into, `stable_baselines` and `onnx_chain` read, `importing` does the whole.
"""
