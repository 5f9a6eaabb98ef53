"""The evaluation as a whole: the JSON's schema, what is absent, perfect and inverted models, bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cleanplate.cli import main
from cleanplate.evaluation.evaluate import Judging, measure_cells, measure_pairs
from cleanplate.evaluation.measure import Methods, measure
from cleanplate.evaluation.parts import mean_part
from cleanplate.measures.edges import EDGE_METRICS
from cleanplate.measures.metrics import DEPTH_METRICS, MASK_METRICS
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.pairs import PairPixels
from made_models import MadeModel, MadeRun, by_colour, make_run, write_scene

CELLS = ["seen_seen", "seen_unseen", "unseen_seen", "unseen_unseen"]
MASK_BASELINES = ["difference", "difference_best"]
DEPTH_BASELINES = ["plate_depth", "plate_depth_contact", "mean_depth"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes "long" (12 frames), "rooms/a" (3 frames) and "rooms/b" (2 frames without depth)."""
    folder = tmp_path_factory.mktemp("pairs")
    write_scene(folder / "long", 12, 0)
    write_scene(folder / "rooms" / "a", 3, 1)
    write_scene(folder / "rooms" / "b", 2, 2, depth=False)
    return folder


@pytest.fixture
def model(run: MadeRun, monkeypatch: pytest.MonkeyPatch) -> MadeModel:
    """The perfect model of `pairs`; what `cleanplate.load` opens."""
    made = MadeModel(by_colour, run.meta)
    monkeypatch.setattr("cleanplate.inference.predictor.load", lambda _, care: replace(made, care=care))
    return made


def check_part(part: Any, mask: bool = True, depth: bool = True, metric: bool = True) -> None:
    assert list(part) == ["mask", "depth", "intervals"]
    assert (list(part["mask"]) == [*MASK_METRICS, "iou_pooled"]) if mask else part["mask"] is None
    if depth:
        assert list(part["depth"]) == ["aligned", "metric", "foreground", "edges"]
        groups = [part["depth"][group] for group in ("aligned", "metric", "foreground") if group != "metric" or metric]
        assert all(list(group) == list(DEPTH_METRICS) for group in groups)
        assert list(part["depth"]["edges"]) == list(EDGE_METRICS)
        assert metric or part["depth"]["metric"] is None
    else:
        assert part["depth"] is None
    values = [v for group in (part["mask"], *(part["depth"] or {}).values()) if group for v in group.values()]
    assert all(v is None or math.isfinite(v) for v in values)
    assert all(len(ends) == 2 and ends[0] <= ends[1] for ends in part["intervals"].values())


def test_cells_json(model: MadeModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "evaluation.json"
    assert main(["evaluate", "--model", "m", "--scenes", "12", "--json", str(file)]) == 0
    got = json.loads(file.read_text())
    assert set(got) == {"care", "part", "cells", "cells_clean", "baselines"}
    assert got["care"] is True
    for key in ("cells", "cells_clean"):
        assert list(got[key]) == CELLS
        for part in got[key].values():
            check_part(part)
    assert list(got["baselines"]) == MASK_BASELINES + DEPTH_BASELINES
    for name, baseline in got["baselines"].items():
        assert list(baseline) == ["cells"]
        assert list(baseline["cells"]) == CELLS
        for part in baseline["cells"].values():
            check_part(part, mask=name in MASK_BASELINES, depth=name in DEPTH_BASELINES)
    for cell in CELLS:
        fixed, best = (got["baselines"][name]["cells"][cell]["mask"]["f1"] for name in MASK_BASELINES)
        assert best >= fixed
    assert set(map(type, model.priors)) == {type(None)}  # depth is judged without the plate's, unless asked for
    printed = capsys.readouterr()
    assert "difference best" in printed.out
    assert "new plates" in printed.out
    assert not list(tmp_path.glob("**/*.tmp*"))


@pytest.mark.usefixtures("model")
def test_pairs_json(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--model", "m", "--pairs", str(pairs), "--json", "-"]) == 0
    streams = capsys.readouterr()
    got = json.loads(streams.out)
    assert "captured pairs" in streams.err
    assert set(got) == {"care", "part", "left_out", "scenes", "mean", "baselines"}
    assert got["left_out"] == 0
    assert list(got["scenes"]) == ["long", "rooms/a", "rooms/b"]
    for scene, part in got["scenes"].items():
        check_part(part, depth=scene != "rooms/b")
        assert part["mask"] == {**dict.fromkeys((*MASK_METRICS, "iou_pooled"), 1.0), "mae": 0.0, "false_alarm": 0.0}
        if part["depth"]:
            assert part["depth"]["edges"] == {"f1": 1.0, "precision": 1.0, "recall": 1.0}
    check_part(got["mean"])
    assert got["scenes"]["long"]["depth"]["metric"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert list(got["baselines"]) == [*MASK_BASELINES, "mog2", "knn", *DEPTH_BASELINES]
    for name in ("mog2", "knn"):  # sequences only
        assert list(got["baselines"][name]["scenes"]) == ["long"]
        assert got["baselines"][name]["mean"]["mask"]["iou"] > 0.5
        check_part(got["baselines"][name]["mean"], depth=False)
    fixed, best = (got["baselines"][name]["mean"]["mask"]["f1"] for name in MASK_BASELINES)
    assert best > 0.98
    assert best >= fixed
    copied = got["baselines"]["plate_depth"]["mean"]["depth"]
    assert copied["metric"]["delta1"] < 1
    assert copied["foreground"]["delta1"] == 0
    assert copied["edges"]["f1"] == 0


def test_without_baselines_and_with_plate_depth(model: MadeModel, pairs: Path) -> None:
    got = measure_pairs(model, pairs, Judging(baselines=False, plate_depth=True))
    assert set(got) == {"left_out", "scenes", "mean"}
    assert all(prior is not None and (prior == 4).all() for prior in model.priors)


@pytest.mark.usefixtures("model")
def test_both_at_once(pairs: Path) -> None:
    from cleanplate.evaluation.evaluate import evaluate

    got = evaluate(model=Path("m"), pairs=pairs, cells=True, scenes=6)
    assert set(got) == {"care", "part", "left_out", "scenes", "mean", "cells", "cells_clean", "baselines"}
    assert set(got["baselines"]["difference"]) == {"scenes", "mean", "cells"}


def test_inverted_model_scores_zero(run: MadeRun, pairs: Path) -> None:
    inverted = MadeModel(lambda plate, frame: (~by_colour(plate, frame)[0], None), run.meta, "none")
    part = measure_pairs(inverted, pairs, Judging(baselines=False))["mean"]
    assert part["depth"] is None
    assert part["mask"]["iou"] == part["mask"]["f1"] == part["mask"]["recall"] == 0
    assert part["mask"]["mae"] == part["mask"]["false_alarm"] == 1


def test_relative_models_have_no_metric_depth(run: MadeRun, pairs: Path) -> None:
    def scaled(plate: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = by_colour(plate, frame)[0]
        return mask, np.where(mask, 5.6, 6.2).astype(np.float32)  # 0.3 z + 5: right up to scale and shift

    got = measure_pairs(MadeModel(scaled, run.meta, "relative"), pairs)
    check_part(got["mean"], metric=False)
    assert got["scenes"]["rooms/a"]["depth"]["foreground"]["abs_rel"] == pytest.approx(0, abs=1e-4)
    check_part(got["baselines"]["plate_depth"]["mean"], mask=False, metric=False)


def test_absent_cells(run: MadeRun) -> None:
    meta = {**run.meta, "pictures": {"plates": {}, "cutouts": run.meta["pictures"]["cutouts"]}}
    got = measure_cells(MadeModel(by_colour, meta), run.plates, run.cutouts, scenes=4, size=32)
    assert list(got["cells"]) == ["unseen_seen", "unseen_unseen"]
    assert "mean_depth" not in got["baselines"]


def test_same_seed_same_figures(run: MadeRun) -> None:
    first, second, other = (
        measure_cells(MadeModel(by_colour, run.meta), run.plates, run.cutouts, scenes=6, size=32, judging=Judging(seed))
        for seed in (3, 3, 4)
    )
    assert first == second
    assert first != other


def test_unanswered_and_unjudged_pixels() -> None:
    """One half of the picture is not judged and holds every error; its depth is unknown."""
    alpha, judged = np.zeros((16, 24), np.float32), np.ones((16, 24), bool)
    alpha[4:12, 2:8] = 1
    judged[:, 12:] = False
    depth = np.where(judged, 3.0, 0.0).astype(np.float32)
    pair = PairPixels(np.zeros((16, 24, 3), np.uint8), np.zeros((16, 24, 3), np.uint8), alpha, judged, depth, None)

    def wrong_where_unjudged(_plate: np.ndarray, _frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(judged, alpha, 1 - alpha), np.where(judged, 3.0, 77.0).astype(np.float32)

    sums = measure([pair], ["s"], Methods(MadeModel(wrong_where_unjudged, {})), lambda: None)
    assert list(sums) == ["model", "difference", "difference_best"]
    part = mean_part([sums["model"]], 0)
    assert part["mask"]["iou"] == part["mask"]["boundary_f"] == 1
    assert part["mask"]["mae"] == 0
    assert part["depth"]["metric"]["abs_rel"] == 0
    assert part["depth"]["aligned"]["delta1"] == 1


def test_another_model_stands_in_the_same_table(
    run: MadeRun, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = MadeModel(lambda plate, _: (np.zeros(plate.shape[:2]), None), {**run.meta, "network": "original"}, "none")
    models = {"m": MadeModel(by_colour, run.meta), "elder": empty, "knn": MadeModel(by_colour, run.meta)}
    monkeypatch.setattr("cleanplate.inference.predictor.load", lambda path, care: replace(models[path.name], care=care))
    command = ["evaluate", "--model", "m", "--pairs", str(pairs), "--cells", "--scenes", "4", "--size", "32"]
    assert main([*command, "--beside", "elder", "--json", "-"]) == 0
    streams = capsys.readouterr()
    got = json.loads(streams.out)["baselines"]
    assert list(got)[:2] == ["original", "difference"]
    assert "original" in streams.err
    assert got["original"]["mean"]["mask"]["iou"] == 0
    assert got["original"]["mean"]["depth"] is None
    assert list(got["original"]["scenes"]) == ["long", "rooms/a", "rooms/b"]
    assert list(got["original"]["cells"]) == CELLS
    assert main([*command, "--beside", "knn"]) == 2
    assert "called knn already" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["no pairs", "no masks", "mask size", "nothing unseen", "no scenes", "tiny"])
def test_bad_input(
    what: str, model: MadeModel, run: MadeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"no scenes": ["--scenes", "0"], "tiny": ["--size", "5"]}
    arguments = given.get(what, [] if what == "nothing unseen" else ["--pairs", str(tmp_path)])
    expected = {
        "no pairs": "no pairs",
        "no masks": "none of its 2 frames has a mask",
        "mask size": "9 x 9",
        "nothing unseen": "--plates",
        "no scenes": "scenes must be at least 1",
        "tiny": "--size",
    }[what]
    if what in ("no masks", "mask size"):
        write_scene(tmp_path / "scene", 2, masks=what == "mask size")
    if what == "mask size":
        write_image(tmp_path / "scene" / "masks" / "001.png", np.zeros((9, 9), np.uint8))
    if what == "nothing unseen":
        model.meta = {**run.meta, "pictures": {**run.meta["pictures"], "plates": {"train": all_plates(run)}}}
        arguments = []
    arguments = {"no scenes": ["--scenes", "0"], "tiny": ["--size", "5"]}.get(what, arguments)
    assert main(["evaluate", "--model", "m", *arguments, "--json", str(tmp_path / "out.json")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def all_plates(run: MadeRun) -> dict[str, dict[str, str]]:
    return {p.name: {"sha256": p.sha256, "group": p.group} for p in run.plates.pictures}
