"""Validation: the same composed scenes of pictures not trained on, under the fixed `standard` effects, every time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from cleanplate.measures import losses, metrics
from cleanplate.settings import LossSettings
from cleanplate.types import DepthKind

if TYPE_CHECKING:
    from cleanplate.scenes.dataset import Batch


def validate(
    network: nn.Module, batches: Iterable[Batch], settings: LossSettings, kind: DepthKind
) -> dict[str, dict[str, Any]]:
    """{"loss": parts and total, "mask": scores, "depth": aligned scores} over the batches; None where undefined."""
    network.eval()
    sums: list[dict[str, float]] = []
    masks, depths = [], []
    with torch.inference_mode():
        for batch in batches:
            output = network(batch.plate, batch.frame, None)
            _, parts = losses.total(output, batch, settings, kind)
            sums.append({name: float(value) for name, value in parts.items()})
            alpha = output.mask_logits.sigmoid().float().cpu().numpy()[:, 0]
            depth = output.log_depth.float().exp().cpu().numpy()[:, 0]
            truth, true_depth = batch.alpha.cpu().numpy()[:, 0], batch.depth.cpu().numpy()[:, 0]
            masks += [metrics.mask_scores(metrics.mask_counts(a, t)) for a, t in zip(alpha, truth, strict=True)]
            depths += [
                metrics.depth_scores(metrics.depth_sums(metrics.aligned(d, t, kind), t))
                for d, t in zip(depth, true_depth, strict=True)
                if (t > 0).any()
            ]
    network.train()
    loss = {name: float(np.mean([s[name] for s in sums])) for name in sums[0]}
    return {"loss": loss, "mask": _means(masks), "depth": _means(depths)}


def score(validation: dict[str, Any]) -> float:
    """What "best" means: IoU of the mask plus delta1 of the aligned depth (0 where nothing is known).

    Where captured pairs were measured too, as "pairs", the mean of both scores.
    """
    own = (validation["mask"].get("iou") or 0.0) + (validation["depth"].get("delta1") or 0.0)
    return (own + score(validation["pairs"])) / 2 if "pairs" in validation else own


def measured(validation: dict[str, Any]) -> dict[str, Any]:
    """Its scores as a line of metrics.jsonl has them: "mask", "depth", and those of pairs as "pairs_mask", ..."""
    pairs = validation.get("pairs", {})
    own = {name: validation[name] for name in ("mask", "depth")}
    return own | {f"pairs_{name}": pairs[name] for name in own if name in pairs}


def _means(rows: list[Any]) -> dict[str, float | None]:
    """Mean of each score over the scenes in which it is defined."""
    means: dict[str, float | None] = {}
    for name in rows[0] if rows else ():
        values = [float(row[name]) for row in rows if row[name] is not None and np.isfinite(row[name])]
        means[name] = float(np.mean(values)) if values else None
    return means
