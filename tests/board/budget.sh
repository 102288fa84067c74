# A run goes on in the budget that it began with, whatever the page cache does: begun cold, killed, gone on with warm,
# with the caches dropped, and after libraries were read whole; by its own budget, and by the advice where one is refused.
set -e
echo always >/sys/kernel/mm/transparent_hugepage/enabled # as Debian's kernel has it from 512 MB on
echo "pages of $(getconf PAGESIZE), $(sed -n 's/.*CPU part\t: //p;' /proc/cpuinfo | head -1), Linux $(uname -r)"
env=${1:-HalfCheetah-v4}
train="edgedst train --budget-mb 50 --env $env --steps 1200 --start-steps 1000 --eval-every 1200 --eval-episodes 1 --checkpoint-every 100 --no-progress"

counted() { # of plan.json and the newest summary: what the libraries count, rows, peak
    python3 - "$@" <<'PYTHON'
import glob, json, sys
for run in glob.glob(sys.argv[1] + "/*/*/*"):
    plan = json.load(open(run + "/plan.json"))
    lines = {line["name"]: line["bytes"] for line in plan["lines"]}
    resident = lines["interpreter and libraries"] + lines["environments"]
    try:
        peak = json.load(open(run + "/summary.json"))["peak_rss_bytes"] / 1e6
    except OSError:
        peak = float("nan")
    print(f"   resident {resident / 1e6:.2f} MB, {plan['replay_rows']:,} rows, smallest budget {plan['smallest_budget_mb']} MB, peak {peak:.2f} MB")
PYTHON
}

killed() { # RUNS OPTIONS: trains a hundred steps further, then SIGKILL
    runs=$1 && shift
    before=$(step "$runs")
    $train --run-dir "$runs" "$@" &
    trainer=$!
    while kill -0 $trainer 2>/dev/null && [ "$(step "$runs")" -lt $((before + 100)) ]; do sleep 0.5; done
    sed -n 's/VmHWM:[\t ]*/   peak so far /p' "/proc/$trainer/status" 2>/dev/null || true
    kill -9 $trainer 2>/dev/null || { wait $trainer && return; echo "REFUSED: $*"; exit 1; }
    wait $trainer || true
}

step() { cat "$1"/*/*/*/checkpoint/state.json 2>/dev/null | sed -n 's/.*"step": *\([0-9]*\).*/\1/p' | head -1 | grep . || echo 0; }
drop() { sync && echo 3 >/proc/sys/vm/drop_caches; }
warm() { find /opt/edgedst /usr/lib/python3 /usr/lib/aarch64-linux-gnu -name '*.so*' -type f -exec cat {} + >/dev/null; }

for begin in drop warm; do
    rm -rf "$begin" && $begin
    echo "begun after $begin" && killed "$begin" && counted "$begin"
    for then in warm drop nothing; do
        case $then in nothing) ;; *) $then ;; esac
        echo "gone on with after $then, from step $(step $begin)" && killed "$begin" --resume newest
        [ "$(ls -d "$begin"/*/*/s* | wc -l)" = 1 ] || { echo "BEGUN ANEW"; exit 1; }
    done
    echo "to its end" && $train --run-dir "$begin" --resume newest && counted "$begin"
done
