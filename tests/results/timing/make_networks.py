"""Makes networks.csv: instructions and bytes of the networks that figures are published for.

    python -m tests.results.timing.make_networks FOLDER

FOLDER has the `.espdl` files of ESP-DL 3.3.9's zoo, in folders whose last part is `s3` or `p4`, or named
`*_s3`, `*_p4`. Counted with the settings of ESP-DL's examples, of which only the cache matters here.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.cost import costs_of
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target
from tests.conftest import ROOT

FILE = ROOT / "harness" / "esp_hil" / "results" / "timing" / "networks.csv"
NAMES = {
    "coco_detect_yolo11n": "yolo11n_640",
    "coco_detect_yolo11n_320": "yolo11n_320",
    "coco_pose_yolo11n_pose": "yolo11n_pose",
    "coco_seg_yolo11n_seg": "yolo11n_seg",
    "imagenet_cls_mobilenetv2": "imagenet_mobilenetv2",
    "mobilenetv2_0_5_128_128_gesture": "gesture_mobilenetv2_0_5",
    "person_reid_feat_osn": "person_reid_osn",
}
COLUMNS = (
    "model",
    "target",
    "macs",
    "instructions",
    "c_cycles",
    "weight_bytes",
    "streamed_bytes",
    "activation_bytes",
)


def name_of(file: Path) -> str:
    """As published.csv has it."""
    plain = re.sub(r"(_s8)?_(s3|p4)$", "", file.stem)
    plain = re.sub(r"_s8_v\d$", "", plain)
    return NAMES.get(plain, re.sub(r"_(\d+)_\1_", r"_\1_", plain))


def row_of(file: Path) -> dict[str, object]:
    """One file, counted."""
    chip = target("esp32s3" if file.parent.name == "s3" or file.stem.endswith("_s3") else "esp32p4")
    costs = costs_of(open_device_file(file), chip.family, setup_of(chip))
    return {
        "model": name_of(file),
        "target": chip.name,
        "macs": sum(cost.macs for cost in costs),
        "instructions": round(sum(cost.instructions for cost in costs)),
        "c_cycles": round(sum(cost.c_cycles for cost in costs)),
        "weight_bytes": sum(cost.weight_bytes for cost in costs),
        "streamed_bytes": sum(cost.streamed_bytes for cost in costs),
        "activation_bytes": sum(cost.activation_bytes for cost in costs),
    }


def main(folder: Path) -> int:
    """Remake the file: networks that it has, and no others."""
    with FILE.open(encoding="utf-8", newline="") as file:
        wanted = [(row["model"], row["target"]) for row in csv.DictReader(file)]
    found = {
        (str(row["model"]), str(row["target"])): row for row in map(row_of, sorted(folder.rglob("*.espdl")))
    }
    missing = [key for key in wanted if key not in found]
    if missing:
        print(f"not in {folder}: {missing}", file=sys.stderr)
        return 1
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found[key] for key in wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
