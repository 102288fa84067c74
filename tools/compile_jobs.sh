#!/bin/sh
# How many compilers may run at once: one for each core, as long as each has 400 MB of the memory that is free; the
# largest file takes 267 MB on AArch64 and 405 on x86-64. A container's own limit counts, too. MEMINFO and CGROUP name
# other files, for the test.
unset OMP_NUM_THREADS OMP_THREAD_LIMIT # nproc would take them for the number of cores
cores=$(nproc 2>/dev/null || echo 1)
free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "${MEMINFO:-/proc/meminfo}" 2>/dev/null)
for limit in "${CGROUP:-/sys/fs/cgroup}/memory.max" "${CGROUP:-/sys/fs/cgroup}/memory/memory.limit_in_bytes"; do
    bytes=$(cat "$limit" 2>/dev/null)
    case $bytes in
        '' | max | *[!0-9]* | ????????????????*) ;; # none: not a number, or beyond a petabyte
        *) [ $((bytes / 1024)) -ge "${free:-0}" ] || free=$((bytes / 1024)) ;;
    esac
done
jobs=$((${free:-0} / 400000))
[ "$jobs" -le "$cores" ] || jobs=$cores
[ "$jobs" -ge 1 ] || jobs=1
echo "$jobs"
