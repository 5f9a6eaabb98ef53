"""A teacher in an ONNX file: its preprocessing as declared, its input and output as the file states them.

Contract: the input is one picture tensor [b, 3, H, W] or [b, H, W, 3],

    x = range * (pixel / 255 - mean) / std,

or uint8 pixels where the file takes uint8; sides and batch that the file fixes are kept to. The output (the first, if
there are several) is [b, 1, H, W], [b, H, W, 1] or [b, H, W], of any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cleanplate.settings import TeacherSettings
from cleanplate.teachers.model import Maps, Pictures, batches, needs
from cleanplate.types import InputError, Pixels

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation."""
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class OnnxTeacher:
    """A loaded ONNX file, called with pictures."""

    def __init__(self, path: Path, settings: TeacherSettings, threads: int) -> None:
        self._path, self._settings = path, settings
        self._session = _session(path, settings.teacher_device, threads)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            told = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
            raise InputError(f"{path} takes {told}; expected one input of pictures, float or uint8, with four axes")
        self._name, self._type = inputs[0].name, TYPES[inputs[0].type]
        self._output = self._session.get_outputs()[0].name
        batch, *axes = (side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape)
        last = settings.teacher_layout == "nhwc"
        channels, *self._fixed = (axes[2], axes[0], axes[1]) if last else axes
        self._one_size, self._batch = batch, batch or settings.teacher_batch
        fits_other = (axes[0] if last else axes[2]) == 3
        if channels not in (None, 3) or (channels is None and fits_other):
            other = "nchw" if last else "nhwc"
            advice = f"declare --teacher-layout {other}" if fits_other else "a teacher sees colour pictures"
            place = settings.teacher_layout.replace("n", "", 1)
            raise InputError(f"{path} takes {inputs[0].shape}, expected 3 channels, {place} after the batch; {advice}")
        mean, std = _normalisation(settings, self._type, path)
        self._factor = np.float32(settings.teacher_range) / (255 * std)
        self._offset = -np.float32(settings.teacher_range) * mean / std
        self._check_size()

    def __call__(self, pictures: Pictures) -> Maps:
        inputs = [self._prepared(picture) for picture in pictures]
        maps: Maps = [np.zeros((1, 1), np.float32)] * len(inputs)
        for chosen in batches([one.shape for one in inputs], self._batch):
            short = 0 if self._one_size is None else self._one_size - len(chosen)
            stacked = np.stack([inputs[i] for i in (*chosen, *[chosen[-1]] * short)])
            for i, found in zip(chosen, self._run(stacked), strict=False):  # what fills up a fixed batch is left
                maps[i] = found
        return maps

    def _prepared(self, picture: Pixels) -> np.ndarray:
        settings = self._settings
        height, width = self._input_size(*picture.shape[:2])
        if (height, width) != picture.shape[:2]:
            filter_ = Image.Resampling[settings.teacher_resample.upper()]
            picture = np.asarray(Image.fromarray(picture).resize((width, height), filter_))
        if settings.teacher_channels == "bgr":
            picture = picture[..., ::-1]
        planes = [np.ascontiguousarray(picture[..., channel]) for channel in range(3)]  # quicker than all at once
        if self._type != np.uint8:
            scales = zip(planes, self._factor, self._offset, strict=True)
            planes = [(plane * factor + offset).astype(self._type, copy=False) for plane, factor, offset in scales]
        return np.stack(planes, axis=-1 if settings.teacher_layout == "nhwc" else 0)

    def _input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the input for a picture of this size."""
        settings, (fixed_height, fixed_width) = self._settings, self._fixed
        wanted = settings.teacher_size
        if len(wanted) == 2:
            height, width = wanted
        elif len(wanted) == 1:
            scale = wanted[0] / min(height, width)
            height, width = round(height * scale), round(width * scale)
        m = settings.teacher_multiple
        height, width = (max(m, round(side / m) * m) for side in (height, width))
        return fixed_height or height, fixed_width or width

    def _run(self, stacked: np.ndarray) -> np.ndarray:
        """[b, H, W] of a stacked input."""
        try:
            output = np.asarray(self._session.run([self._output], {self._name: stacked})[0], np.float32)
        except Exception as error:  # onnxruntime's errors have no common class below Exception
            told = str(error).strip().splitlines()[0]
            raise InputError(
                f"{self._path} fails on an input of shape {stacked.shape} ({told}); declare what it takes: "
                "--teacher-size, --teacher-multiple, --teacher-layout, --teacher-batch"
            ) from error
        shape = output.shape
        if output.ndim == 4 and 1 in (shape[1], shape[3]):
            output = output[:, 0] if shape[1] == 1 else output[..., 0]
        if output.ndim != 3 or len(output) != len(stacked):
            raise InputError(
                f"{self._path} gives {self._output} of shape {shape} for {len(stacked)} pictures; expected depth, "
                "[b, 1, h, w] or [b, h, w]: is it a depth model?"
            )
        return output

    def _check_size(self) -> None:
        wanted, multiple = self._settings.teacher_size, self._settings.teacher_multiple
        if len(wanted) > 2 or any(side < 1 for side in wanted) or multiple < 1:
            raise InputError(
                f"--teacher-size {' '.join(map(str, wanted))} --teacher-multiple {multiple}: expected one or two "
                "sides, and a multiple, of at least 1 pixel"
            )
        for fixed, side in zip(self._fixed, wanted if len(wanted) == 2 else (), strict=False):
            if fixed not in (None, side):
                raise InputError(
                    f"{self._path} takes pictures of {self._fixed[0]} x {self._fixed[1]} pixels (height x width) only, "
                    f"--teacher-size says {wanted[0]} x {wanted[1]}; leave it out"
                )


def _normalisation(settings: TeacherSettings, type_: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation per channel."""
    declared = settings.teacher_mean, settings.teacher_std
    if type_ == np.uint8 and (any(one is not None for one in declared) or settings.teacher_range != 1):
        raise InputError(f"{path} takes uint8 pixels as they are; leave out --teacher-mean, --teacher-std, -range")
    default = IMAGENET if settings.teacher_range == 1 else ((0.0,) * 3, (1.0,) * 3)
    if settings.teacher_channels == "bgr":
        default = default[0][::-1], default[1][::-1]
    mean, std = (np.array(one or other, np.float32) for one, other in zip(declared, default, strict=True))
    if not (np.isfinite(mean).all() and (std > 0).all()):
        raise InputError(f"--teacher-mean {mean.tolist()} --teacher-std {std.tolist()}: expected numbers, std above 0")
    return mean, std


def _session(path: Path, device: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise needs("onnxruntime", error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    gpu = device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if not gpu and device not in ("auto", "cpu"):
        raise InputError(
            f"--teacher-device {device}: this onnxruntime has no CUDA; install onnxruntime-gpu in its place, or say cpu"
        )
    number = device.partition(":")[2] or "0"
    providers: list[Any] = [("CUDAExecutionProvider", {"device_id": number})] if gpu else []
    try:
        return onnxruntime.InferenceSession(str(path), options, [*providers, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class below Exception
        told = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is no ONNX file that onnxruntime can open ({told})") from error
