"""Reads damaged files in a process of its own, which may crash or hang: see `Reader` in test_readers.py.

A question is a line of JSON, [reader, folder]; the answer is one, ["read", what], ["refused", sentence] or
["raised", traceback].
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

from edgedst import boards
from edgedst.config import TrainConfig
from edgedst.deploy.bundle import check_bundle
from edgedst.deploy.evaluate import evaluate
from edgedst.deploy.golden import read_golden
from edgedst.energy import sources
from edgedst.energy.readers import CsvFile
from edgedst.energy.trace import Trace
from edgedst.errors import EdgedstError
from edgedst.launch.settings import configured
from edgedst.runs.actor import best_evaluation, read_actor
from edgedst.runs.recorded import recorded_features
from edgedst.study.grid import read_study
from edgedst.study.report import write_report

MOST_BYTES = 4_000_000_000  # of address space: what a file makes us allocate beyond it is a fault
OBSERVATIONS, ACTIONS = 17, 6


def settings(folder):
    loaded = TrainConfig.from_settings(TrainConfig.load(folder / "settings.toml")).resolved()
    return [loaded.settings(), configured({}, folder / "settings.toml").settings(), loaded.toml()]


def study(folder):
    return [point.name for point in read_study(folder / "study.toml").points]


def board(folder):
    shipped, boards.devices_folder = boards.devices_folder, lambda: folder
    try:
        return [vars(boards.load(name)) for name in boards.names()] + [boards.detect().board.name]
    finally:
        boards.devices_folder = shipped


def golden(folder):
    return [array.tobytes() for array in read_golden(folder / "golden.csv", OBSERVATIONS, ACTIONS)]


def bundle(folder):
    return check_bundle(folder).name


def onnx(folder):
    return evaluate(folder / "actor.onnx", episodes=1).returns


def actors(folder):
    told = [vars(read_actor(folder, which)) for which in ("last", "best")]
    for about in told:
        about["layers"] = [(*map(bytes, (layer.indices, layer.values, layer.bias)),) for layer in about["layers"]]
    return told, best_evaluation(folder)


def replay(folder):
    return recorded_features(folder, 512, read_actor(folder)).shape


def report(folder):
    write_report(folder / "out", folder / "report")
    text = (folder / "report" / "report.md").read_text(encoding="utf-8")
    return text.partition("How this was made")[0].replace(str(folder), "")


def energy(folder):
    spec = sources.choose(f"csv:{folder / 'power.csv'}", boards.detect().board)
    trace = Trace(5.0, 10_000)
    CsvFile({"file": str(folder / "power.csv")}, lambda: 0.0, lambda: 0.0).sample(trace)
    return spec is not None, trace.window(0.0, 2e9)["samples"]


READERS = {reader.__name__: reader for reader in (settings, study, board, golden, bundle, onnx, actors, replay, report)}
READERS["energy"] = energy


def main():
    answers = os.fdopen(os.dup(1), "w")  # what libraries print goes elsewhere
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    for line in sys.stdin:
        name, folder = json.loads(line)
        try:
            told = "read", repr(READERS[name](Path(folder)))
        except EdgedstError as error:
            told = "refused", f"{type(error).__name__}: {error}"
        except BaseException:
            told = "raised", traceback.format_exc(limit=-3)
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
