# The smallest budget that `plan` names trains to its end, in a cgroup of that size, cold; a tenth of a megabyte less is
# refused. Run with LIMIT unset: the job makes its own cgroups.
set -e
echo always >/sys/kernel/mm/transparent_hugepage/enabled # as Debian's kernel has it from 512 MB on
for options in "" "--preset board"; do
    smallest=$(edgedst plan --env HalfCheetah-v4 $options --json | python3 -c "import json, sys; print(json.load(sys.stdin)['smallest_budget_mb'])")
    group=/sys/fs/cgroup/floor && mkdir -p $group
    echo "$(python3 -c "print(round($smallest * 1e6))")" >$group/memory.max # in one write
    echo 0 >$group/memory.swap.max 2>/dev/null || true
    sync && echo 3 >/proc/sys/vm/drop_caches
    echo "HalfCheetah-v4 $options in $smallest MB, in a cgroup of $(cat $group/memory.max) bytes"
    (echo 0 >$group/cgroup.procs && exec edgedst train --budget-mb $smallest --env HalfCheetah-v4 $options --steps 700 \
        --start-steps 500 --eval-every 700 --eval-episodes 1 --no-progress --run-dir floor)
    grep oom_kill $group/memory.events
    rmdir $group
done
