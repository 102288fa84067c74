"""What kernels say about boards, as /proc shows it: entries of a device tree end in NUL.

Spellings are those of the kernels' own device trees and of people's reports, where a source is named in the board's
file; JetPack 4, 5 and 6 call the same module by different models.
"""

ZERO_2W = ("Raspberry Pi Zero 2 W Rev 1.0", "raspberrypi,model-zero-2-w", "brcm,bcm2837")
PI_3B_PLUS = ("Raspberry Pi 3 Model B Plus Rev 1.3", "raspberrypi,3-model-b-plus", "brcm,bcm2837")
NANO_SUPER = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
NX_SUPER = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super"

# (board, model, *compatible), one line a release or housing.
TREES = [
    ("raspberry-pi-zero-2w", *ZERO_2W),
    ("raspberry-pi-3b-plus", *PI_3B_PLUS),
    ("raspberry-pi-3b-plus", "Raspberry Pi 3 Model B Plus Rev 1.4", "raspberrypi,3-model-b-plus", "brcm,bcm2837"),
    ("raspberry-pi-4", "Raspberry Pi 4 Model B Rev 1.2", "raspberrypi,4-model-b", "brcm,bcm2711"),
    ("raspberry-pi-4", "Raspberry Pi 400 Rev 1.0", "raspberrypi,400", "brcm,bcm2711"),
    ("raspberry-pi-4", "Raspberry Pi Compute Module 4 Rev 1.0", "raspberrypi,4-compute-module", "brcm,bcm2711"),
    ("raspberry-pi-4", "Raspberry Pi Compute Module 4S Rev 1.0", "raspberrypi,4s-compute-module", "brcm,bcm2711"),
    ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712"),
    ("raspberry-pi-5", "Raspberry Pi 500 Rev 1.0", "raspberrypi,500", "brcm,bcm2712"),
    ("raspberry-pi-5", "Raspberry Pi Compute Module 5 Rev 1.0", "raspberrypi,5-compute-module", "brcm,bcm2712"),
    ("raspberry-pi-5", "Raspberry Pi Compute Module 5 Lite Rev 1.0", "raspberrypi,5-compute-module", "brcm,bcm2712"),
    # JetPack 4.2, later 4.x, and the kernel's own tree; the 2GB kit.
    ("jetson-nano", "jetson-nano", "nvidia,jetson-nano", "nvidia,tegra210"),
    ("jetson-nano", "NVIDIA Jetson Nano Developer Kit", "nvidia,p3450-0000", "nvidia,tegra210"),
    (
        "jetson-nano",
        "NVIDIA Jetson Nano 2GB Developer Kit",
        "nvidia,p3541-0000",
        "nvidia,p3450-0000",
        "nvidia,tegra210",
    ),
    # JetPack 4 and 5, and the kernel's own trees.
    (
        "jetson-xavier-nx",
        *("NVIDIA Jetson Xavier NX Developer Kit", "nvidia,p3449-0000+p3668-0000"),
        *("nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"),
    ),
    (
        "jetson-xavier-nx",
        *("NVIDIA Jetson Xavier NX Developer Kit (eMMC)", "nvidia,p3509-0000+p3668-0001", "nvidia,tegra194"),
    ),
    # JetPack 5, JetPack 6, JetPack 6.2 as Super, the kernel's own tree, the module with 4 GB.
    (
        "jetson-orin-nano",
        *("NVIDIA Orin Nano Developer Kit", "nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"),
    ),
    (
        "jetson-orin-nano",
        *("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit", "nvidia,p3768-0000+p3767-0005"),
        *("nvidia,p3767-0005", "nvidia,tegra234"),
    ),
    (
        "jetson-orin-nano",
        *(NANO_SUPER, "nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
    ),
    ("jetson-orin-nano", "NVIDIA Jetson Orin Nano Developer Kit", "nvidia,p3768-0000+p3767-0003", "nvidia,tegra234"),
    ("jetson-orin-nano", "A carrier board", "nvidia,p3509-0000+p3767-0004", "nvidia,tegra234"),
    # The same carrier board as the Nano's, another module number.
    (
        "jetson-orin-nx",
        *("NVIDIA Orin NX Developer Kit", "nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
    ),
    ("jetson-orin-nx", NX_SUPER, "nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234"),
    ("jetson-orin-nx", "A carrier board", "nvidia,p3768-0000+p3767-0001", "nvidia,tegra234"),
    (
        "jetson-agx-orin",
        *("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005"),
        *("nvidia,tegra234", "nvidia,tegra23x"),
    ),
    ("jetson-agx-orin", "Jetson AGX Orin", "nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", "nvidia,tegra234"),
]

# Boards that look like one of them and are another.
STRANGERS = [
    ("Raspberry Pi 3 Model B Rev 1.2", "raspberrypi,3-model-b", "brcm,bcm2837"),
    ("Raspberry Pi 3 Model A Plus Rev 1.0", "raspberrypi,3-model-a-plus", "brcm,bcm2837"),
    ("Raspberry Pi Zero W Rev 1.1", "raspberrypi,model-zero-w", "brcm,bcm2835"),
    ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "raspberrypi,3-plus-compute-module", "brcm,bcm2837"),
    ("NVIDIA Jetson AGX Xavier Developer Kit", "nvidia,p2972-0000", "nvidia,tegra194"),
    ("NVIDIA Jetson TX2 NX Developer Kit", "nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"),
    ("NVIDIA IGX Orin Development Kit", "nvidia,p3740-0002+p3701-0008", "nvidia,tegra234"),
    ("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,p4071-0000+p3834-0008", "nvidia,tegra264"),
    ("A board of tomorrow", "tomorrow,board"),
]


def lay_out(root, model="", compatible=(), cpuinfo=""):
    """A /proc below `root` with these texts; a file without a text is left out."""
    tree = root / "proc" / "device-tree"
    tree.mkdir(parents=True)
    if model:
        (tree / "model").write_bytes(model.encode() + b"\0")
    if compatible:
        (tree / "compatible").write_bytes(b"".join(entry.encode() + b"\0" for entry in compatible))
    if cpuinfo:
        (root / "proc" / "cpuinfo").write_text(cpuinfo, encoding="utf-8")
    return root
