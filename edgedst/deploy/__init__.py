"""From a run folder to something a device can run: read the checkpoint, write it as ONNX, prove the two equal.

`runs/actor.py` reads, `native_actor` runs a checkpoint through the core, `packing` makes weights small, `onnx` and
`c_source` write, `parity` and `c_check` check, `evaluate` and `return_drop` measure returns. What goes onto the device
beside the file lives in `export/` and imports nothing from here.
"""

import os

# onnxruntime 1.32 keeps a file of events in the home folder and sends them to its maker, unless it is told not to
# before it is loaded. A user who set this otherwise is left their way.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
