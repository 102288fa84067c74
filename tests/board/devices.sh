# Device trees of boards, mounted where a board has its own: those that this kernel ships, and those of tests/board_trees.py.
# With each, the files of the board's power chip as its driver names them. `edgedst devices --here` has to name the board and
# its kernels, and to read the chip; then a run is metered. No kernel here can be asked to pretend such a chip: Debian's has
# neither i2c-stub nor test_power.
set -e
python3 - <<'PYTHON'
import json, pathlib, struct, subprocess, sys, tomllib

sys.path.insert(0, "/host")
from board_trees import STRANGERS, TREES

OF_THE_KERNEL = {
    "bcm2837-rpi-zero-2-w": "raspberry-pi-zero-2w",
    "bcm2837-rpi-3-b-plus": "raspberry-pi-3b-plus",
    "bcm2711-rpi-4-b": "raspberry-pi-4",
    "bcm2711-rpi-400": "raspberry-pi-4",
    "bcm2711-rpi-cm4-io": "raspberry-pi-4",
    "bcm2712-rpi-5-b": "raspberry-pi-5",
    "tegra210-p3450-0000": "jetson-nano",
}
ANY = "generic-aarch64"
TREE, SENSORS = pathlib.Path("/sys/firmware/devicetree/base"), pathlib.Path("/sys/class/hwmon")


def root_of(blob):
    """`model` and `compatible` of a flattened device tree (Devicetree Specification 0.4, chapter 5)."""
    _, _, structure, strings = struct.unpack(">4I", blob[:16])
    place, properties = structure + 8, {}  # after FDT_BEGIN_NODE and the root's empty name
    while struct.unpack_from(">I", blob, place)[0] == 3:  # FDT_PROP: the root's come before its children
        size, name = struct.unpack_from(">2I", blob, place + 4)
        name = blob[strings + name : blob.index(b"\0", strings + name)].decode()
        properties[name] = blob[place + 12 : place + 12 + size]
        place += 12 + (size + 3) // 4 * 4
    return {name: properties[name] for name in ("model", "compatible")}


def lay(folder, files):
    """Mount a folder of these files over one of the kernel's, which nobody can write into."""
    subprocess.run(["umount", folder], stderr=subprocess.DEVNULL)
    subprocess.run(["mount", "-t", "tmpfs", "board", folder], check=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sensor(chip, rails):
    """The hwmon files of a board's chip, with 5 V and 1 A a rail; none where it is another kind of source."""
    files = {}
    for place, rail in enumerate(rails if chip == "ina3221" else ()):  # a chip has three
        folder, channel = f"hwmon{place // 3}", place % 3 + 1
        files |= {
            f"{folder}/name": b"ina3221\n",
            f"{folder}/in{channel}_label": f"{rail}\n".encode(),
            f"{folder}/in{channel}_input": b"5000\n",
            f"{folder}/curr{channel}_input": b"1000\n",
        }
    return files


def here():
    return json.loads(subprocess.run(["edgedst", "devices", "--here", "--json"], capture_output=True, check=True).stdout)


wrong, cases = 0, []
for path in sorted(pathlib.Path("/host/device-trees").glob("*.dtb")):
    cases.append((OF_THE_KERNEL.get(path.stem, ANY), root_of(path.read_bytes())))
for board, model, *compatible in [*TREES, *((ANY, *stranger) for stranger in STRANGERS)]:
    entries = b"".join(entry.encode() + b"\0" for entry in compatible)
    cases.append((board, {"model": model.encode() + b"\0", "compatible": entries}))
missing = {path.parent.name for path in pathlib.Path("/host/devices").glob("*/board.toml")} - {board for board, _ in cases}
assert missing == {"generic", "generic-x86-64"}, f"no tree for {missing}"
for board, tree in cases:
    power = tomllib.loads(pathlib.Path(f"/host/devices/{board}/board.toml").read_text()).get("power", {})
    lay(TREE, tree)
    lay(SENSORS, sensor(power.get("source"), power.get("rails")))
    found = here()
    metered = [source["name"] for source in found["power"] if source["readable"]]
    good = (found["board"], found["isa"]) == (board, "neon") and (power.get("source") != "ina3221" or "ina3221" in metered)
    wrong += not good
    told = f"{found['board']}, {found['isa']}, power {', '.join(metered) or 'none'}"
    print(f"{'  ' if good else 'WRONG'} {tree['model'].decode()[:-1]}: {told}")
print(f"{len(cases)} trees, {wrong} wrong")
sys.exit(bool(wrong))
PYTHON
umount /sys/firmware/devicetree/base /sys/class/hwmon

# A Jetson Orin Nano, whose one rail gives 5 W.
mount -t tmpfs board /sys/firmware/devicetree/base
printf 'nvidia,p3767-0005\0nvidia,tegra234\0' >/sys/firmware/devicetree/base/compatible
mount -t tmpfs board /sys/class/hwmon && mkdir /sys/class/hwmon/hwmon3 && cd /sys/class/hwmon/hwmon3
echo ina3221 >name && echo VDD_IN >in1_label && echo 5000 >in1_input && echo 1000 >curr1_input
cd /root/work
edgedst train --energy auto --env Pendulum-v1 --steps 1200 --start-steps 1000 --eval-every 1200 --eval-episodes 1 \
    --no-progress --run-dir energy
python3 - <<'PYTHON'
import glob, json

summary = json.load(open(glob.glob("energy/*/*/*/summary.json")[0]))
energy = summary["energy"]
print(f"{energy['source']}: {energy['joules']:.1f} J, {energy['samples']} samples, {energy['detail']}")
assert energy["source"] == "ina3221" and energy["measured"] and energy["joules"] > 0
PYTHON
