# The plug is pulled while a run trains, again and again, and the run goes on to the bit: boot it with
#
#     for seconds in 12 20 30; do KEEP=1 PLUG=$seconds tools/virtual_board.sh run tests/board/plug.sh; done
#     KEEP=1 tools/virtual_board.sh run tests/board/plug.sh
#
# Each boot goes on where the last one was cut off. The last trains to the end, trains once more without a cut, compares
# all that the two have written of networks, replay, metrics and evaluations, and cleans up.
set -e
options="--env Hopper-v4 --steps 1500 --start-steps 1000 --eval-every 500 --eval-episodes 1 --checkpoint-every 100 --no-progress"
dmesg | grep -i "EXT4-fs.*\(recover\|error\|orphan\)" || true
# A run that was cut before its first checkpoint begins anew.
[ -e "$(echo cut/*/*/*/checkpoint/state.json)" ] || rm -rf cut
if [ ! -d cut ]; then
    edgedst train $options --run-dir cut
elif [ ! -e "$(echo cut/*/*/*/summary.json)" ]; then # it has not ended
    echo "goes on from step $(sed -n 's/.*"step": *\([0-9]*\).*/\1/p' cut/*/*/*/checkpoint/state.json | head -1)"
    edgedst train $options --run-dir cut --resume newest
fi
rm -rf whole && edgedst train $options --run-dir whole
python3 - <<'PYTHON'
import glob, hashlib, json, os, sys

CLOCKS = ("seconds", "steps_per_second", "rss_bytes", "peak_rss_bytes", "energy_joules", "energy_gap_seconds")


def learned(runs):
    """Everything that a run learned and saw, without what a clock or a meter said."""
    run, = glob.glob(f"{runs}/*/*/s*")
    lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    files = sorted(name for name in os.listdir(f"{run}/checkpoint") if name != "state.json")
    return {
        "metrics": [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines],
        **{name: hashlib.sha256(open(f"{run}/checkpoint/{name}", "rb").read()).hexdigest() for name in files},
    }


cut, whole = learned("cut"), learned("whole")
print(f"{len(whole)} records; those that differ: {[name for name in whole | cut if cut.get(name) != whole.get(name)]}")
sys.exit(cut != whole)
PYTHON
rm -rf cut whole
