import json
import os
import zlib
from pathlib import Path

import pytest

from edgedst import parse
from edgedst.errors import CheckpointError, RunFolderError
from edgedst.files import write_whole
from edgedst.runs.folder import _ARM_CORES, RunFolder, _arm_core, folder_name, host_facts


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(str(tmp_path), "HalfCheetah-v4", "ds-td3", 3)


def lines(folder):
    return [json.loads(line) for line in Path(folder.path, "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_folder_is_named_after_task_method_seed_and_time(folder, tmp_path):
    parts = Path(folder.path).relative_to(tmp_path).parts
    assert parts[:2] == ("HalfCheetah-v4", "ds-td3")
    assert parts[2].startswith("s3-2")
    assert Path(folder.checkpoint_path).is_dir()


def test_two_runs_of_one_second_get_folders_of_their_own(tmp_path):
    assert len({RunFolder.create(str(tmp_path), "A-v0", "td3", 0).path for _ in range(5)}) == 5


def test_an_id_with_characters_that_folders_lack_is_spelled_without_them():
    assert folder_name("my_module:Env/Arm-v0") == "my_module-Env-Arm-v0"


def test_metrics_after_the_checkpoint_are_cut_when_a_run_goes_on(folder):
    folder.open_metrics(new=True)
    folder.metric({"step": 1})
    kept, checksum = folder.metrics_bytes, folder.metrics_crc32
    folder.metric({"step": 2})
    os.close(folder._metrics)
    again = RunFolder(folder.path)
    again.open_metrics(new=False)
    again.keep_metrics(kept, checksum)
    again.metric({"step": 3})
    assert [line["step"] for line in lines(folder)] == [1, 3]
    assert again.metrics_crc32 == zlib.crc32(Path(folder.path, "metrics.jsonl").read_bytes())


def test_metrics_shorter_than_the_checkpoint_says_are_refused(folder):
    folder.open_metrics(new=True)
    with pytest.raises(CheckpointError, match="is shorter than its checkpoint says"):
        folder.keep_metrics(1000, None)


def test_metrics_that_were_changed_are_refused(folder):
    folder.open_metrics(new=True)
    folder.metric({"step": 1})
    with pytest.raises(CheckpointError, match="is not as its checkpoint says"):
        folder.keep_metrics(folder.metrics_bytes, folder.metrics_crc32 ^ 1)


def test_metrics_that_are_gone_are_not_made_anew(folder):
    with pytest.raises(CheckpointError, match=r"has no metrics\.jsonl, which its checkpoint counts on"):
        folder.open_metrics(new=False)
    assert not Path(folder.path, "metrics.jsonl").exists()


def test_two_trainers_in_one_folder_are_refused(folder):
    folder.open_metrics(new=True)
    with pytest.raises(RunFolderError, match="is being trained by another process"):
        RunFolder(folder.path).open_metrics(new=False)


def test_a_full_disk_is_a_sentence(folder):
    folder._metrics = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(
        RunFolderError, match=r"metrics.jsonl` cannot be written: No space left on device. Free some space"
    ):
        folder.metric({"step": 1})


def test_a_file_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    folder.write("summary.json", {"step": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        folder.write("summary.json", {"step": 2})
    assert json.loads(Path(folder.path, "summary.json").read_text(encoding="utf-8")) == {"step": 1}
    assert not list(Path(folder.path).glob("*.tmp"))


def test_a_place_that_cannot_hold_runs_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"cannot be written: Not a directory. .*--run-dir"):
        RunFolder.create(str(tmp_path / "file"), "A-v0", "td3", 0)
    with pytest.raises(RunFolderError):
        write_whole(str(tmp_path / "nowhere" / "x"), b"")


def test_the_host_is_described():
    facts = host_facts()
    assert facts["cores"] >= 1
    assert facts["page_bytes"] in (4096, 16384, 65536)
    assert facts["memory_bytes"] > 100_000_000


ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: {}\nCPU part\t: {}\nCPU revision\t: 4\n"


@pytest.mark.parametrize(
    ("text", "core"),
    [
        (ARM.format("0x41", "0xd03"), "Cortex-A53"),
        (ARM.format("0x4e", "0x004"), "NVIDIA Carmel"),
        (ARM.format("0x41", "0xd4f"), "ARM core of implementer 0x41, part 0xd4f"),
        ("processor : 0\nuarch : sifive,u74-mc\n", None),
    ],
)
def test_an_arm_core_is_named_by_its_numbers(tmp_path, text, core):
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    assert _arm_core(str(tmp_path / "cpuinfo")) == core


def test_the_cores_of_all_boards_have_names():
    for path in sorted((Path(__file__).parents[2] / "devices").glob("*/board.toml")):
        facts = parse.toml(path.read_bytes()).get("facts", {})
        if "cpu_part" in facts:
            part = facts["cpu_part"]["value"]
            assert facts["cpu"]["value"] in {name for (_, of), name in _ARM_CORES.items() if of == part}
