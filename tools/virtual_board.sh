#!/bin/sh
# A board that is not there: an AArch64 machine under qemu's system emulation, with a kernel, a disk and pages of its own.
#
#   tools/virtual_board.sh make WHEEL      make the disk: Debian, Python, and edgedst as `pip install WHEEL` puts it there
#   tools/virtual_board.sh run JOB.sh      boot it, run JOB.sh as root, print what it prints, end with its exit code
#
# JOB.sh finds this checkout's README.md, devices/ and tests/board as /host/README.md, /host/devices and /host/jobs, and
# the kernel's device trees of real boards as /host/device-trees; what it leaves in /host/results stands in $BOARD/results.
# A run writes to nothing else, unless KEEP=1.
#
#   BOARD=DIR      where all of it stands (build/board)
#   CPU=NAME       cortex-a53 (Zero 2 W, Pi 3B+), cortex-a72 (Pi 4; the default), cortex-a76 (Pi 5)
#   PAGES=16k      a kernel of 16 KiB pages, as the Pi 5's (4k)
#   MEMORY=MIB     512; CORES=N: 4
#   LIMIT=BYTES    a memory cgroup around the job, without swap; QUOTA=PERCENT of one core for it
#   INIT=systemd   boot as a real system does; the job is a service then
#   KEEP=1         what the job writes stays on the disk, for the next boot
#   PLUG=SECONDS   pull the plug that long after the job began: the emulator is killed, the exit code is 137
#   MINUTES=N      give up then (30)
#
# Root and Debian's archive are needed, and 3 GB of disk. An emulated core does about a thirtieth of this machine's work:
# nothing that is timed here says how fast a board is.
set -eu
cd "$(dirname "$0")/.."
BOARD=${BOARD:-build/board} CPU=${CPU:-cortex-a72} PAGES=${PAGES:-4k}

fail() { echo "virtual_board: $*" >&2; exit 2; }

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '/^set/d' >&2; exit 2; }

need() { # COMMAND PACKAGE...: installs what is missing
    packages=
    while [ $# -gt 1 ]; do
        command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || packages="$packages $2"
        shift 2
    done
    [ -z "$packages" ] && return
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

unpack() { # FOLDER PACKAGES: unpacks AArch64 packages from where this machine has its own; no script of theirs runs
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | grep " $release" |
        sort -u >"$BOARD/sources.list"
    merged=/usr/share/mmdebstrap/hooks/merged-usr
    mmdebstrap --quiet --mode=root --variant=extract --architectures=arm64 --hook-dir=$merged \
        --include="$(echo $2 | tr ' ' ,)" "$release" "$1" "$BOARD/sources.list" >"$BOARD/unpack.log" 2>&1 ||
        { cat "$BOARD/unpack.log" >&2; fail "The packages above could not be unpacked."; }
}

make_kernel() { # 4k or 16k
    kernel=$BOARD/kernel-$1
    [ -s "$kernel/initrd" ] && [ -d "$kernel/device-trees" ] && return
    echo "virtual_board: a kernel of $1 pages"
    rm -rf "$kernel" && mkdir -p "$kernel/initrd.d"
    flavour=arm64 && [ "$1" = 4k ] || flavour=arm64-16k
    unpack "$kernel/root" "linux-image-6.12-$flavour busybox-static"
    version=$(ls "$kernel/root/usr/lib/modules")
    /sbin/depmod -b "$kernel/root/usr" "$version" 2>/dev/null || /sbin/depmod -b "$kernel/root" "$version"
    cp "$kernel/root/boot/vmlinuz-$version" "$kernel/vmlinuz"
    i=$kernel/initrd.d
    mkdir -p "$i/bin" "$i/modules" "$i/proc" "$i/sys" "$i/dev" "$i/r"
    cp "$kernel/root/bin/busybox" "$i/bin/" && ln -s busybox "$i/bin/sh"
    of=$kernel/root/usr/lib/modules/$version
    : >"$i/modules/order"
    for module in virtio_mmio virtio_pci virtio_blk crc32c_generic ext4 9p 9pnet_virtio; do
        line=$(grep -m1 "/$module\.ko" "$of/modules.dep") || continue
        for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
            name=$(basename "$file" .xz)
            grep -qx "$name" "$i/modules/order" && continue
            case $file in *.xz) xz -dc "$of/$file" >"$i/modules/$name" ;; *) cp "$of/$file" "$i/modules/" ;; esac
            echo "$name" >>"$i/modules/order"
        done
    done
    cp tests/board/init "$i/init" && chmod +x "$i/init"
    (cd "$i" && find . | cpio -o -H newc 2>/dev/null | gzip -1) >"$kernel/initrd.new"
    mkdir "$kernel/device-trees"
    cp "$kernel/root/usr/lib/linux-image-$version"/broadcom/bcm2[78]*-rpi-*.dtb \
        "$kernel/root/usr/lib/linux-image-$version"/nvidia/tegra*.dtb "$kernel/device-trees/"
    rm -rf "$kernel/root" "$i" && mv "$kernel/initrd.new" "$kernel/initrd"
}

make_disk() { # WHEEL
    [ -f "$1" ] || fail "There is no wheel \`$1\`: \`make wheels\` makes one, dist/edgedst-*_aarch64.whl."
    echo "virtual_board: a disk with Debian and Python"
    rm -rf "$BOARD/disk" "$BOARD/disk.img" "$BOARD/host"
    mkdir -p "$BOARD/host/wheels"
    unpack "$BOARD/disk" "base-files base-passwd bash dash coreutils findutils grep sed gawk util-linux procps kmod \
        libc-bin libstdc++6 libgomp1 python3 python3-venv systemd systemd-sysv gcc libc6-dev make"
    cp "$BOARD/disk/usr/share/base-passwd/passwd.master" "$BOARD/disk/etc/passwd"
    cp "$BOARD/disk/usr/share/base-passwd/group.master" "$BOARD/disk/etc/group"
    mkdir -p "$BOARD/disk/proc" "$BOARD/disk/sys" "$BOARD/disk/dev" "$BOARD/disk/root" "$BOARD/disk/run" \
        "$BOARD/disk/host" "$BOARD/disk/etc/systemd/system/multi-user.target.wants"
    cp tests/board/job.service "$BOARD/disk/etc/systemd/system/"
    ln -s ../job.service "$BOARD/disk/etc/systemd/system/multi-user.target.wants/"
    ln -sf /lib/systemd/system/multi-user.target "$BOARD/disk/etc/systemd/system/default.target"
    python=$(basename "$(readlink "$BOARD/disk/usr/bin/python3")")
    echo "virtual_board: what the wheel needs, for $python"
    platforms=$(for floor in 17 24 26 27 28 31 34 35; do echo "--platform manylinux_2_${floor}_aarch64"; done) # and a wheel that names no glibc
    # shellcheck disable=SC2086
    python3 -m pip download -q --disable-pip-version-check --dest "$BOARD/host/wheels" --only-binary=:all: \
        --platform manylinux2014_aarch64 --platform linux_aarch64 $platforms --python-version "${python#python}" "$1[export,study,profile]"
    cp "$1" "$BOARD/host/wheels/"
    mke2fs -q -t ext4 -d "$BOARD/disk" "$BOARD/disk.img" 2500M
    rm -rf "$BOARD/disk"
    KEEP=1 MEMORY=1024 run tests/board/install.sh
}

run() { # JOB
    [ -f "$1" ] || fail "There is no job \`$1\`."
    [ -s "$BOARD/disk.img" ] || fail "There is no disk in \`$BOARD\` yet: \`tools/virtual_board.sh make WHEEL\`."
    make_kernel "$PAGES"
    host=$BOARD/host
    rm -rf "$host/jobs" "$host/devices" "$host/device-trees" "$host/results" "$host/exit" "$host/begun"
    mkdir -p "$host/results"
    cp -r README.md devices tests/board_trees.py "$BOARD/kernel-$PAGES/device-trees" "$host/"
    cp -r tests/board "$host/jobs" && cp "$1" "$host/job.sh"
    printf 'LIMIT=%s\nQUOTA=%s\nINIT=%s\n' "${LIMIT:-}" "${QUOTA:-}" "${INIT:-}" >"$host/settings"
    snapshot=-snapshot && [ -z "${KEEP:-}" ] || snapshot=
    # shellcheck disable=SC2086
    timeout --foreground $((${MINUTES:-30} * 60)) qemu-system-aarch64 -M virt -cpu "$CPU" -smp "${CORES:-4}" \
        -m "${MEMORY:-512}" -nographic -no-reboot -nic none $snapshot -kernel "$BOARD/kernel-$PAGES/vmlinuz" \
        -initrd "$BOARD/kernel-$PAGES/initrd" -append "console=ttyAMA0 quiet loglevel=3 panic=-1 systemd.firstboot=off" \
        -drive "file=$BOARD/disk.img,format=raw,if=virtio,cache=writeback" \
        -virtfs "local,path=$host,mount_tag=host,security_model=none" </dev/null &
    emulator=$!
    # The emulator is a child of `timeout`, which passes no SIGKILL on.
    trap 'pkill -9 -P $emulator || true; kill -9 $emulator 2>/dev/null || true' INT TERM EXIT
    if [ -n "${PLUG:-}" ]; then
        while kill -0 $emulator 2>/dev/null && [ ! -e "$host/begun" ]; do sleep 0.2; done
        sleep "$PLUG"
        pkill -9 -P $emulator || true # it may have ended before
    fi
    wait $emulator && code=0 || code=$?
    trap - INT TERM EXIT
    rm -rf "$BOARD/results" && cp -r "$host/results" "$BOARD/results"
    [ -z "${PLUG:-}" ] || return 137
    [ "$code" = 0 ] || fail "The emulator ended with $code; 124: \`MINUTES\` were over."
    return "$(cat "$host/exit" 2>/dev/null || echo 1)"
}

[ $# = 2 ] || usage
[ "$(id -u)" = 0 ] || fail "Run it as root: Debian's packages are unpacked with their owners."
mkdir -p "$BOARD"
need qemu-system-aarch64 qemu-system-arm mmdebstrap mmdebstrap mke2fs e2fsprogs depmod kmod cpio cpio xz xz-utils
case $1 in
    make) make_disk "$2" ;;
    run) run "$2" ;;
    *) usage ;;
esac
