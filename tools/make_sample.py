"""Choose and convert the packaged sample pictures from a corpus of rendered rooms.

    python tools/make_sample.py CORPUS [--out src/cleanplate/pictures/sample]

CORPUS holds plates/, cutouts/ (each with pictures.json), pairs/*/meta.json, ATTRIBUTION.csv and LICENSES/. The choice
is a function of the corpus and the seed; running it again replaces the folder by the same bytes.

Rules of the choice:
1. The pairs are held out: their rooms are no plate's room, and no model in their foregrounds is among the cutouts. The
   people of the chosen pairs are few models (`HELD_OUT_PEOPLE`), so that the cutouts keep most.
2. Of the pairs, `EMPTY_PAIRS` show nothing in front and about a third have a changed exposure, white balance or light.
3. Of the cutouts, `PEOPLE_SHARE` show people, spread evenly over the models; the others show many models, and at least
   `KIND_FLOOR` pictures of each kind of thing (animals, vehicles, plants ...).
4. The attribution keeps the rows of models that are used, and all rows of textures (the corpus does not say which
   room uses which texture).
Conversion: cutouts become WebP (lossy colours, lossless alpha) and their depth is rounded to `RELIEF_STEP_MM`; the rest
is copied as it is.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

HELD_OUT_PEOPLE = 5
EMPTY_PAIRS = 4
CHANGED_SHARE = 0.35
PEOPLE_SHARE = 0.4
KIND_FLOOR = 18
WEBP_QUALITY = 86
RELIEF_STEP_MM = 4

README = """# Sample pictures

{plates} plates, {cutouts} cutouts and {pairs} plate + frame pairs, rendered for this project from free 3-D models,
so that everything can be tried without pictures of one's own. The models' authors and licences (CC0, CC-BY 3.0 and
others) are in `ATTRIBUTION.csv` and `LICENSES/`; pass both on with the pictures.

- `plates/`: furnished rooms, 320 x 240, with exact planar depth (`NAME_depth.png`, uint16 millimetres) and the camera
  in `pictures.json`.
- `cutouts/`: people, animals, vehicles, furniture, things; WebP with lossless alpha. `pictures.json` has the real
  height, the focal length and the group (the 3-D model). `NAME_depth.png` is the depth as the cutout's own camera saw
  it, rounded to {step} mm; 0 outside.
- `pairs/`: a room with nothing in front (`plate.jpg`) and with 1-3 things in it (`frames/0.jpg`), with true shadows
  and bounce light, the mask and both depths. {empty} show nothing in front; {changed} have a changed exposure, white
  balance or light (`meta.json`). Their rooms are not among the plates and their foregrounds' models are not among the
  cutouts.

Masks of the pairs are hard-edged. There is no sensor noise and no lens blur. `tools/make_sample.py` in the repository
made the choice.
"""


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def is_person(model: str) -> bool:
    return model.startswith("Reallusion/")


def choose_pairs(metas: dict[str, dict], count: int, random_: random.Random) -> list[str]:
    """Names of pairs: empty ones, then half with people of few models, half without, a share of each changed."""
    people = {name: {m for m in meta["foreground"] if is_person(m)} for name, meta in metas.items()}
    held: set[str] = set()
    for _ in range(HELD_OUT_PEOPLE):  # greedy: the model that makes most pairs usable
        candidates = sorted(set().union(*people.values()) - held)
        held.add(max(candidates, key=lambda m: sum(bool(p) and p <= held | {m} for p in people.values())))
    empty = [n for n, meta in metas.items() if not meta["foreground"]]
    with_people = [n for n in metas if people[n] and people[n] <= held]
    without = [n for n in metas if metas[n]["foreground"] and not people[n]]
    chosen = random_.sample(empty, EMPTY_PAIRS)
    half = (count - EMPTY_PAIRS) // 2
    for pool, wanted in ((with_people, half), (without, count - EMPTY_PAIRS - half)):
        changed = [n for n in pool if metas[n]["change"]["kind"] != "none"]
        plain = [n for n in pool if n not in changed]
        taken = random_.sample(changed, min(len(changed), round(wanted * CHANGED_SHARE)))
        chosen += taken + random_.sample(plain, min(len(plain), wanted - len(taken)))
    return sorted(chosen)


def choose_cutouts(pictures: dict[str, dict], count: int, held_out: set[str], random_: random.Random) -> list[str]:
    """Names of cutouts of models that are not held out: evenly over the models, and some of every kind of thing."""
    shuffled = random_.sample(sorted(pictures), len(pictures))
    seen: Counter[str] = Counter()
    turns: list[tuple[int, str]] = []  # (how many of the same model come before, name)
    for name in shuffled:
        model = pictures[name]["model"]
        if model not in held_out:
            turns.append((seen[model], name))
            seen[model] += 1
    turns.sort(key=lambda turn: turn[0])  # stable: shuffled within a turn
    people = [name for _, name in turns if pictures[name]["kind"] == "person"][: round(count * PEOPLE_SHARE)]
    others = [name for _, name in turns if pictures[name]["kind"] != "person"]
    by_kind: dict[str, list[str]] = {}
    for name in others:
        by_kind.setdefault(pictures[name]["kind"], []).append(name)
    floor = [name for kind in sorted(by_kind) for name in by_kind[kind][:KIND_FLOOR]]
    rest = [name for name in others if name not in floor]
    return sorted(people + (floor + rest)[: count - len(people)])


def copy_plates(corpus: Path, out: Path, names: list[str]) -> None:
    for name in names:
        shutil.copyfile(corpus / name, out / name)
        depth = f"{Path(name).stem}_depth.png"
        shutil.copyfile(corpus / depth, out / depth)


def convert_cutouts(corpus: Path, out: Path, names: list[str]) -> None:
    for name in names:
        stem = Path(name).stem
        with Image.open(corpus / name) as image:
            image.save(out / f"{stem}.webp", quality=WEBP_QUALITY, alpha_quality=100, method=6, exact=False)
        with Image.open(corpus / f"{stem}_depth.png") as image:
            millimetres = np.array(image, dtype=np.int64)
        rounded = (millimetres + RELIEF_STEP_MM // 2) // RELIEF_STEP_MM * RELIEF_STEP_MM
        Image.fromarray(rounded.astype(np.uint16)).save(out / f"{stem}_depth.png", optimize=True)


def write_side_data(path: Path, side: dict, pictures: dict[str, dict]) -> None:
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(pictures.items()))
    head = json.dumps({key: value for key, value in side.items() if key != "pictures"})[:-1]
    path.write_text(f'{head}, "pictures": {{\n{lines}\n}}}}\n', encoding="utf-8")


def write_attribution(corpus: Path, out: Path, used: dict[str, set[str]]) -> None:
    """Rows of used models, with counts of what ships; textures whole. `used`: model -> {"plates/0001.jpg", ...}."""
    with (corpus / "ATTRIBUTION.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (out / "ATTRIBUTION.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if row["used_as"] == "model" and row["model"] not in used:
                continue
            for kind in ("plates", "cutouts", "pairs"):
                if row["used_as"] == "model":
                    row[kind] = str(sum(picture.startswith(kind) for picture in used[row["model"]]))
                else:  # not known for the chosen pictures
                    row[kind] = ""
            writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src/cleanplate/pictures/sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plates", type=int, default=142)
    parser.add_argument("--cutouts", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()
    make(arguments.corpus, arguments.out, arguments.seed, (arguments.plates, arguments.cutouts, arguments.pairs))


def make(corpus: Path, out: Path, seed: int, counts: tuple[int, int, int]) -> None:
    """Choose, convert and attribute; `out` is replaced."""
    sides = {kind: load(corpus / kind / "pictures.json") for kind in ("plates", "cutouts")}
    metas = {path.parent.name: load(path) for path in sorted(corpus.glob("pairs/*/meta.json"))}
    pairs = choose_pairs(metas, counts[2], random.Random(f"{seed}-pairs"))
    held_out = {model for name in pairs for model in metas[name]["foreground"]}
    cutouts = choose_cutouts(sides["cutouts"]["pictures"], counts[1], held_out, random.Random(f"{seed}-cutouts"))
    plates = sorted(random.Random(f"{seed}-plates").sample(sorted(sides["plates"]["pictures"]), counts[0]))

    shutil.rmtree(out, ignore_errors=True)
    for kind in ("plates", "cutouts"):
        (out / kind).mkdir(parents=True)
    copy_plates(corpus / "plates", out / "plates", plates)
    convert_cutouts(corpus / "cutouts", out / "cutouts", cutouts)
    for name in pairs:
        shutil.copytree(corpus / "pairs" / name, out / "pairs" / name, copy_function=shutil.copyfile)
    shutil.copytree(corpus / "LICENSES", out / "LICENSES", copy_function=shutil.copyfile)

    shipped = {f"plates/{n}": sides["plates"]["pictures"][n] for n in plates}
    shipped |= {f"cutouts/{Path(n).stem}.webp": sides["cutouts"]["pictures"][n] for n in cutouts}
    for kind, side in sides.items():
        entries = {Path(name).name: entry for name, entry in shipped.items() if name.startswith(kind)}
        write_side_data(out / kind / "pictures.json", side, entries)
    shipped |= {f"pairs/{name}": metas[name] for name in pairs}
    write_attribution(corpus, out, models_used(shipped))
    numbers = {
        "plates": len(plates),
        "cutouts": len(cutouts),
        "pairs": len(pairs),
        "empty": sum(not metas[name]["foreground"] for name in pairs),
        "changed": sum(metas[name]["change"]["kind"] != "none" for name in pairs),
        "step": RELIEF_STEP_MM,
    }
    (out / "README.md").write_text(README.format(**numbers), encoding="utf-8")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {numbers}, {size / 1e6:.2f} MB")


def models_used(shipped: dict[str, dict]) -> dict[str, set[str]]:
    """model -> the shipped pictures ("plates/0001.jpg", "pairs/0003") that show it."""
    used: dict[str, set[str]] = {}
    for name, entry in shipped.items():
        for model in entry.get("models", []) + entry.get("foreground", []) + [entry.get("model")]:
            if model:
                used.setdefault(model, set()).add(name)
    return used


if __name__ == "__main__":
    main()
