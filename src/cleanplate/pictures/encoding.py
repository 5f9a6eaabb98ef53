"""Videos out: H.264 to play anywhere, two kinds with alpha, one for depth; through PyAV (FFmpeg's libraries).

Contract: `VideoWriter` writes beside its place and renames when the file is whole, or kept on purpose. Frames come with
their times, which go into the file as they are; `Sound` copies the packets of the source's sound track in between.

    H264          uint8 [h, w, 3] or grey [h, w]   .mp4    yuv420p, BT.709; an odd side is repeated by one pixel
    VP9_ALPHA     uint8 [h, w, 4], straight alpha  .webm   yuva420p: what browsers show
    PRORES_ALPHA  uint8 [h, w, 4], straight alpha  .mov    ProRes 4444, yuva444p10le: what editing programs take
    FFV1_DEPTH    uint16 [h, w]                    .mkv    gray16le without loss
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from cleanplate.pictures.sound import Sound
from cleanplate.pictures.video import DEFAULT_FPS
from cleanplate.pictures.writing import beside, raise_for_disk
from cleanplate.types import InputError


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg, what its pixels are, and how it is set."""

    name: str
    pixels: str
    suffix: str
    options: dict[str, str] = field(default_factory=dict)


H264 = Codec("libx264", "yuv420p", ".mp4", {"preset": "veryfast"})
VP9_ALPHA = Codec(
    "libvpx-vp9",
    "yuva420p",
    ".webm",
    # Real time: the other settings of this encoder take seconds per picture. Alpha allows no alternate references.
    {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "crf": "24", "b": "0", "auto-alt-ref": "0"},
)
PRORES_ALPHA = Codec("prores_ks", "yuva444p10le", ".mov", {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"})
FFV1_DEPTH = Codec("ffv1", "gray16le", ".mkv", {"level": "3", "slices": "4", "slicecrc": "1"})


class VideoWriter:
    """Writes a video; use it as a context manager. The file appears when the block ends without an error.

    size: (height, width) of every frame. crf: x264's quality, lower = better. codec: one of this module.
    time_base: seconds per tick of the times given to `write`; by default a frame lasts one tick.
    aspect: width over height of a pixel. sound: the source's, None for silence.
    Raises InputError when the disk is full or the place cannot be written, ValueError for a frame of another size.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        fps: float | int = DEFAULT_FPS,
        crf: int = 18,
        codec: Codec = H264,
        time_base: Fraction | None = None,
        aspect: Fraction | int = 1,
        sound: Sound | None = None,
    ) -> None:
        import av

        self.path, self.size, self.codec = Path(path), size, codec
        self.partial, self._sound, self._next = beside(self.path), sound, 0
        rate = Fraction(fps).limit_denominator(1001)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The index in front, so that a browser can play while it loads.
            options = {"movflags": "+faststart"} if self.path.suffix.lower() in (".mp4", ".mov", ".m4v") else {}
            self._container = av.open(str(self.partial), "w", options=options)
            self._stream: Any = self._container.add_stream(codec.name, rate=rate)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise_for_disk(error, self.path)
            raise InputError(f"{self.path}: no video can be written there ({error}); name it .mp4 or .mkv") from error
        even = codec.pixels.endswith("420p")
        height, width = (side + side % 2 * even for side in size)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, codec.pixels
        self._stream.options = {**codec.options, **({"crf": str(crf)} if codec is H264 else {})}
        context = self._stream.codec_context
        self.time_base = time_base or 1 / rate
        self._stream.time_base = context.time_base = self.time_base
        context.sample_aspect_ratio = Fraction(aspect)
        if codec is not FFV1_DEPTH:
            context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709, as players assume
            context.color_range = 1
        if codec is VP9_ALPHA:
            self._stream.metadata["alpha_mode"] = "1"
        if sound is not None:
            sound.join(self._container)

    def write(self, pixels: Shaped[np.ndarray, "h w *c"], pts: int | None = None, duration: int = 0) -> None:
        """Append one frame of the codec's kind.

        pts: when it is shown, ticks, later than the last one; by default one tick later. duration: ticks, 0 = unsaid.
        """
        if pixels.shape[:2] != self.size:
            raise ValueError(f"{self.path}: a frame of {pixels.shape[:2]} in a video of {self.size}")
        frame = self._encodable(pixels)
        frame.pts, frame.time_base = self._next if pts is None else pts, self.time_base
        if duration:
            frame.duration = duration
        self._next = frame.pts + 1
        if self._sound is not None:
            self._mux_sound(float(frame.pts * self.time_base))
        self._mux(frame)

    def _encodable(self, pixels: Shaped[np.ndarray, "h w *c"]) -> Any:
        """A PyAV frame in the encoder's pixel format."""
        from av import VideoFrame

        if self.codec.pixels == "gray16le":
            return VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="gray16le")
        (height, width), even = self.size, self.codec.pixels.endswith("420p")
        if even and (height % 2 or width % 2):
            rest = [(0, 0)] * (pixels.ndim - 2)
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), *rest), mode="edge")
        pixels = np.ascontiguousarray(pixels)
        if pixels.ndim == 2:
            return VideoFrame.from_ndarray(_grey_planes(pixels), format="yuv420p")
        frame = VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
        return frame.reformat(format=self.codec.pixels, dst_colorspace="ITU709", dst_color_range="MPEG")

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise_for_disk(error, self.path)
            raise

    def _mux_sound(self, until_s: float | None) -> None:
        if self._sound is not None:
            for packet in self._sound.packets(until_s):
                self._container.mux(packet)

    def close(self, whole: bool = True) -> None:
        """Finish the file and put it in its place. whole: with all of the sound, not only that of these frames."""
        try:
            self._mux(None)
            self._mux_sound(None if whole else float(self._next * self.time_base))
            self._container.close()
            self.partial.replace(self.path)
        except OSError as error:
            raise_for_disk(error, self.path)
            raise
        finally:
            self._let_go()

    def discard(self) -> None:
        """Stop; nothing stays."""
        with suppress(OSError):  # what stopped the writing says more than what then stops the closing
            self._container.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._sound is not None:
            self._sound.close()
        self.partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def _grey_planes(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "_ w"]:
    """Grey 0..255 as the planes of yuv420p: luminance 16..235, no colour. Sides are even."""
    height, width = grey.shape
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    cv2.LUT(grey, _LUMINANCE, dst=planes[:height])
    return planes


_LUMINANCE = (16 + np.arange(256) * (219 / 255) + 0.5).astype(np.uint8)
