"""Depth teachers made on the spot: tiny transformers models of random weights, and ONNX files whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from made_scenes import FOCAL, HEIGHT, WIDTH, room_depth, write_cutouts

CODE = 40
"""Green levels per metre, of pictures whose colour says how far away everything is."""


def write_hf(folder: Path, kind: str = "dpt", seed: int = 0) -> Path:
    """A DPT or Depth Anything of some thousand random weights, with its image processor, by `save_pretrained`.

    The DPT squeezes pictures to 32 x 32, Depth Anything keeps their aspect (multiples of 8).
    """
    import torch
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    torch.manual_seed(seed)
    model = _dpt() if kind == "dpt" else _depth_anything()
    with torch.no_grad():  # transformers' first weights are so small that every picture gets the same flat answer
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.5 / weight[0].numel() ** 0.5)
        list(model.head.parameters())[-1].fill_(5.0)  # and its last ReLU should not cut
    model.save_pretrained(folder)
    options = {} if kind == "dpt" else {"keep_aspect_ratio": True, "ensure_multiple_of": 8}
    DPTImageProcessorPil(size={"height": 32, "width": 32}, **options).save_pretrained(folder)
    return folder


def _dpt() -> Any:
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=16,
        is_hybrid=False,
    )
    return DPTForDepthEstimation(config)


def _depth_anything() -> Any:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=8,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=16,
        head_hidden_size=8,
    )
    return DepthAnythingForDepthEstimation(config)


def write_onnx(
    path: Path,
    *,
    offset: float = 1.0,
    factor: float = 1.0,
    channel: int = 1,
    sides: tuple[int | str, int | str] = ("h", "w"),
    batch: int | str = "b",
    layout: str = "nchw",
    dtype: int = TensorProto.FLOAT,
    channels: int = 3,
    flat: bool = False,
    inverse: bool = False,
    outputs: Sequence[int] | None = None,
) -> Path:
    """A file that gives offset + factor * (one channel of its input), [b, 1, h, w], or [b, h, w] if flat.

    inverse: 1 / that. outputs: these channels in place of the one.
    """
    axis = 1 if layout == "nchw" else 3
    shape = [batch, channels, *sides] if layout == "nchw" else [batch, *sides, channels]
    chosen = np.array(list(outputs) if outputs is not None else [channel], np.int64)
    constants = [
        numpy_helper.from_array(np.array(offset, np.float32), "offset"),
        numpy_helper.from_array(np.array(factor, np.float32), "factor"),
        numpy_helper.from_array(chosen, "chosen"),
        numpy_helper.from_array(np.array([axis], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["x", "chosen"], ["one"], axis=axis),
        helper.make_node("Mul", ["one", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["added"]),
        helper.make_node("Reciprocal" if inverse else "Identity", ["added"], ["answer"]),
        helper.make_node("Squeeze", ["answer", "axis"], ["depth"])
        if flat
        else helper.make_node("Identity", ["answer"], ["depth"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def write_coded_pictures(folder: Path, count: int = 6, depth: bool = True) -> tuple[Path, Path]:
    """`folder`/plates, each the room at another brightness, green = CODE * metres; and `folder`/cutouts."""
    plates, metres = folder / "plates", room_depth()
    plates.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), 40 + 30 * number, np.uint8)
        pixels[..., 1] = np.rint(metres * CODE)
        Image.fromarray(pixels).save(plates / f"plate{number}.png")
        if depth:
            Image.fromarray((metres * 1000).round().astype(np.uint16)).save(plates / f"plate{number}_depth.png")
    facts = {f"plate{n}.png": {"focal_px": FOCAL} for n in range(count)}
    (plates / "pictures.json").write_text(json.dumps({"pictures": facts}))
    write_cutouts(folder / "cutouts", count)
    return plates, folder / "cutouts"


def write_decoder(path: Path, inverse: bool = False, **others: Any) -> Path:
    """The teacher that reads the code: metres, or if inverse 1 / metres. Give it --teacher-range 255."""
    return write_onnx(path, offset=1e-3, factor=1 / CODE, inverse=inverse, **others)
