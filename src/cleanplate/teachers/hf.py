"""A teacher that is a transformers depth-estimation model: its own image processor before it, and after it.

Contract: whatever `AutoModelForDepthEstimation` opens, from a folder as `save_pretrained` writes it or from the hub.
What the model's processor does with its output (padding cut off, field of view brought in, size restored) is done.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from cleanplate.settings import TeacherSettings
from cleanplate.teachers.model import Found, Maps, Pictures, batches, first_line, needs
from cleanplate.types import InputError

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class HfTeacher:
    """A transformers depth-estimation model with its image processor, from a local folder."""

    def __init__(self, found: Found, settings: TeacherSettings, threads: int) -> None:
        import torch

        transformers = _transformers()
        device = _device(settings.teacher_device)
        if device == "cpu":
            torch.set_num_threads(threads)
        # Pillow's image processor: the same pixels with and without torchvision
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(found.path, backend="pil", **options)
            model, report = transformers.AutoModelForDepthEstimation.from_pretrained(
                found.path, output_loading_info=True, **options
            )
        except (OSError, ValueError, ImportError, RuntimeError, KeyError) as error:
            raise InputError(
                f"{found.source} cannot be opened as a depth-estimation model ({first_line(error)}); expected what "
                "transformers' AutoModelForDepthEstimation and AutoImageProcessor open: DPT, Depth Anything, GLPN ..."
            ) from error
        absent = sorted(key for key in report["missing_keys"] if key.startswith("head"))
        if absent:
            raise InputError(
                f"{found.source} has no weights for {absent[0]} and {len(absent) - 1} others: it is a backbone without "
                "the head that gives depth, which would be random; give a model trained for depth estimation"
            )
        self._model, self._processor = model.to(device).eval(), processor
        self._device, self._batch = device, settings.teacher_batch

    def __call__(self, pictures: Pictures) -> Maps:
        import torch
        from PIL import Image

        inputs = [
            self._processor(images=Image.fromarray(picture), return_tensors="pt")["pixel_values"]
            for picture in pictures
        ]
        maps: Maps = [np.zeros((1, 1), np.float32)] * len(inputs)
        for chosen in batches([tuple(tensor.shape) for tensor in inputs], self._batch):
            with torch.inference_mode():
                output = self._output(torch.cat([inputs[i] for i in chosen]))
                sizes = [pictures[i].shape[:2] for i in chosen]
                # the second argument is the size wanted, for ZoeDepth the source's: as transformers' pipeline has it
                found = self._processor.post_process_depth_estimation(output, sizes)
            for i, depth in zip(chosen, found, strict=True):
                maps[i] = depth["predicted_depth"].float().cpu().numpy()
        return maps

    def _output(self, pixels: Any) -> Any:
        import torch

        try:
            return self._model(pixel_values=pixels.to(self._device))
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"{len(pixels)} pictures of {pixels.shape[3]} x {pixels.shape[2]} are too many for the GPU's memory; "
                "give a smaller --teacher-batch"
            ) from error


def _device(name: str) -> str:
    """A device that is there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--teacher-device {name}: {first_line(error)}; expected cpu, cuda, cuda:1 ...") from error
    return name


def _transformers() -> Any:
    try:
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise needs("transformers", error) from error
    logging.disable_progress_bar()
    return transformers


def fetched(place: str) -> Path:
    """The folder in the hub's cache with this model, fetched if need be."""
    if not _HUB_NAME.fullmatch(place):
        raise InputError(f"{place}: no such folder; --depth teacher=hf: takes a folder or a model's name on the hub")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise needs("transformers", error) from error
    try:
        folder = snapshot_download(place, allow_patterns=["*.json", "*.safetensors"])
        if not list(Path(folder).glob("*.safetensors")):
            folder = snapshot_download(place, allow_patterns=["*.json", "*.bin"])
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise InputError(
            f"{place} is neither a folder here nor a model that the hub gives ({first_line(error)}); check the name, "
            "or fetch the model elsewhere and give its folder"
        ) from error
    return Path(folder)


def files_of(folder: Path) -> list[Path]:
    """What decides a transformers model's output: its JSON files and its weights."""
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    settings = [folder / "config.json", folder / "preprocessor_config.json"]
    if not weights or not settings[0].is_file():
        raise InputError(
            f"{folder}: no transformers model: expected config.json and *.safetensors, as save_pretrained writes them"
        )
    return [path for path in settings if path.is_file()] + weights
