# SPDX-License-Identifier: Apache-2.0
"""Holds every #include to the arrows that the kpt_room and kpt_app lines declare.

    python tools/check_layers.py [--root FOLDER] [--matrix]

Rules: a room includes itself and its DEPS; DEPS stand on lower layers; a leaf folder (one with <leaf>/<leaf>.cpp under
a room with MANIFEST) never includes a sister leaf; the core never includes Torch or Python; #include "kpt/..." names a
file that exists. Each room has a README of at most 40 lines whose "May include" sentence names its DEPS, and stands on
its layer in the picture of docs/architecture.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOM = re.compile(r"^kpt_(room|app)\(([^)]*)\)", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"^(torch/|ATen/|c10/|caffe2/|pybind11/|Python\.h$)")
VENDOR = re.compile(r"^(cuda|nvrtc|cublas|cudnn)")  # types alone; the room cuda opens the libraries at run time
MAY_INCLUDE = re.compile(r"May include:?\s+(.+?)[.;](?:\s|$)", re.DOTALL)
PICTURE = re.compile(r"^ (\d) {2}(\S.*)$", re.MULTILINE)  # " 2  kernels  passes    what they are"
README_LINES = 40
KEYWORDS = {"LAYER", "DEPS", "MANIFEST", "REGISTRY", "REGISTRY_HEADER", "LEAVES", "LINK"}


@dataclass
class Room:
    name: str
    folder: Path
    layer: int
    deps: list[str]
    leaf_root: Path | None  # where its leaf folders stand
    app: bool
    used: Counter = field(default_factory=Counter)  # includes counted by room


def parse_room(cmake: Path) -> Room | None:
    match = ROOM.search(re.sub(r"#.*", "", cmake.read_text()))
    if not match:
        return None
    words = match.group(2).split()
    values: dict[str, list[str]] = {}
    key = "NAME"
    for word in words:
        if word in KEYWORDS:
            key = word
            values[key] = []
        else:
            values.setdefault(key, []).append(word)
    folder = cmake.parent
    leaf_root = None
    if "MANIFEST" in values:
        leaf_root = folder / values["LEAVES"][0] if values.get("LEAVES") else folder
    app = match.group(1) == "app"
    return Room(values["NAME"][0], folder, int(values["LAYER"][0]), values.get("DEPS", []), leaf_root, app)


def find_rooms(root: Path) -> tuple[dict[str, Room], list[str]]:
    faults, rooms = [], {}
    folders = [p.parent for p in sorted((root / "src/kpt").glob("*/CMakeLists.txt"))]
    folders += [p for p in (root / "apps/kpt", root / "python/bridge") if (p / "CMakeLists.txt").exists()]
    for folder in folders:
        where = (folder / "CMakeLists.txt").relative_to(root)
        room = parse_room(folder / "CMakeLists.txt")
        if room is None:
            faults.append(f"{where}: got no kpt_room or kpt_app line, want one that declares the arrows")
        elif not room.app and room.name != folder.name:
            faults.append(f"{where}: got room {room.name}, want the folder's name {folder.name}")
        else:
            # An app may carry a room's name; it is never a target of an arrow.
            rooms[f"{folder.relative_to(root)}" if room.app else room.name] = room
    for folder in sorted(p for p in (root / "src/kpt").iterdir() if p.is_dir() and p not in folders):
        if any(folder.rglob("*.cpp")):
            faults.append(f"{folder.relative_to(root)}: got sources and no CMakeLists.txt, want a kpt_room line")
    return rooms, faults


def check_arrows(rooms: dict[str, Room]) -> list[str]:
    faults = []
    for room in rooms.values():
        for dep in room.deps:
            if dep not in rooms:
                faults.append(f"room {room.name}: got DEPS {dep}, want a room that exists")
            elif rooms[dep].layer >= room.layer:
                faults.append(
                    f"room {room.name} [{room.layer}]: got DEPS {dep} [{rooms[dep].layer}], want a lower layer"
                )
    return faults


def leaf_of(room: Room, path: Path) -> str | None:
    """The leaf folder that holds the path, None for the room's own files."""
    if room.leaf_root is None or room.leaf_root not in path.parents:
        return None
    leaf = path.relative_to(room.leaf_root).parts[0]
    return leaf if (room.leaf_root / leaf / f"{leaf}.cpp").exists() else None


def check_file(root: Path, rooms: dict[str, Room], room: Room, path: Path) -> list[str]:
    faults = []
    text = path.read_text()
    for match in INCLUDE.finditer(text):
        name = match.group(2)
        where = f"{path.relative_to(root)}:{text.count(chr(10), 0, match.start(2)) + 1}"
        if TORCH.match(name) and room.folder != root / "python/bridge":
            faults.append(f"{where}: got <{name}>, want neither Torch nor Python in the core")
        if VENDOR.match(name) and room.folder != root / "src/kpt/cuda":
            faults.append(f"{where}: got <{name}>, want a vendor's header in the room cuda alone")
        if not name.startswith("kpt/"):
            if match.group(1) == '"' and room.folder != root / "python/bridge":
                faults.append(f'{where}: got "{name}", want the full path "kpt/..."')
            continue
        target = (root / "apps" if (root / "apps" / name).exists() else root / "src") / name
        if not target.exists():
            faults.append(f"{where}: got {name}, which does not exist")
            continue
        if room.folder in target.parents:
            room.used[room.name] += 1
            ours, theirs = leaf_of(room, path), leaf_of(room, target)
            if theirs and theirs != ours and path.name != "manifest.cpp":
                who = f"leaf {ours}" if ours else f"room {room.name}"
                faults.append(f"{where}: got {name}, want no leaf folder seen from {who}")
            continue
        parts = Path(name).parts
        other = parts[1] if len(parts) > 2 else None  # None: kpt/version.h, which all may see
        if other is None:
            continue
        room.used[other] += 1
        if other not in room.deps:
            faults.append(f"{where}: got {name}, want a room of DEPS ({' '.join(room.deps) or 'none'})")
    return faults


def check(root: Path) -> tuple[list[str], dict[str, Room]]:
    rooms, faults = find_rooms(root)
    faults += check_arrows(rooms)
    for room in rooms.values():
        for path in sorted(room.folder.rglob("*")):
            if path.suffix in (".h", ".cpp", ".cuh", ".cu"):
                faults += check_file(root, rooms, room, path)
    return faults, rooms


def check_pages(root: Path, rooms: dict[str, Room]) -> list[str]:
    """What the pages say of the arrows is what kpt_room says."""
    faults = []
    for key, room in rooms.items():
        page = room.folder / "README.md"
        where = page.relative_to(root)
        if not page.exists():
            faults.append(f"{where}: got no page, want one for room {key}")
            continue
        text = page.read_text()
        lines = len(text.splitlines())
        if lines > README_LINES:
            faults.append(f"{where}: got {lines} lines, want at most {README_LINES}")
        sentence = MAY_INCLUDE.search(text)
        said = set(re.findall(r"\w+", sentence.group(1))) & set(rooms) if sentence else None
        if said != set(room.deps):
            told = "no such sentence" if said is None else " ".join(sorted(said)) or "none"
            faults.append(f"{where}: got May include {told}, want {' '.join(sorted(room.deps)) or 'none'}")
    picture = (root / "docs/architecture.md").read_text()
    drawn = {(int(layer), word) for layer, words in PICTURE.findall(picture) for word in words.split()}
    for key, room in rooms.items():
        if (room.layer, key) not in drawn:
            faults.append(f"docs/architecture.md: got no {key} on layer {room.layer}, want every room in the picture")
    return faults


def matrix(rooms: dict[str, Room]) -> str:
    """Rows include columns; a dot is a declared arrow without an include."""
    order = sorted(rooms, key=lambda key: (rooms[key].layer, key))
    columns = [key for key in order if not rooms[key].app]
    width = max(len(key) for key in order)
    lines = [" " * (width + 5) + " ".join(f"{c[:6]:>6}" for c in columns)]
    for key in order:
        room = rooms[key]
        cells = []
        for column in columns:
            count = room.used[column] if not (room.app and column == room.name) else 0
            declared = column in room.deps or (column == room.name and not room.app)
            cells.append(f"{count if count else ('.' if declared else ''):>6}")
        lines.append(f"{key:<{width}} [{room.layer}] " + " ".join(cells))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hold includes to the declared arrows.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--matrix", action="store_true", help="print how many includes go from room to room")
    options = parser.parse_args(argv)
    root = options.root.resolve()
    faults, rooms = check(root)
    faults += check_pages(root, rooms)
    if options.matrix:
        print(matrix(rooms))
    for fault in faults:
        print(f"check_layers: {fault}", file=sys.stderr)
    if not faults:
        includes = sum(sum(room.used.values()) for room in rooms.values())
        print(f"check_layers: {len(rooms)} rooms, {includes} includes, all along declared arrows")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
