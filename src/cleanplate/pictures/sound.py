"""Sound: the sound track of a video, carried beside the pictures that are made of it.

Contract: `Sound(path)` reads the file a second time, for its first sound track alone, so that pictures may be decoded,
changed and encoded at their own pace; `packets(until_s)` gives what belongs before a time. Packets are copied, bit for
bit, wherever the container takes their codec. Where it does not (AAC in WebM), the sound is encoded anew, to the
container's own default (Opus there). A track that cannot be decoded on the way ends where it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

_OPUS_RATE = 48_000


class Sound:
    """A sound track on its way into one video. start_s: taken off all times, as of the pictures'."""

    def __init__(self, path: Path, start_s: Fraction) -> None:
        import av

        self._source = av.open(str(path))
        self._stream: Any = self._source.streams.audio[0]
        self._start_s = start_s
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None

    @staticmethod
    def of(path: Path, start_s: Fraction) -> Sound | None:
        """A file's sound; None of a silent one, or of one whose sound nobody can read."""
        import av

        with av.open(str(path)) as container:
            tracks = container.streams.audio
            readable = bool(tracks) and tracks[0].codec_context is not None
        return Sound(path, start_s) if readable else None

    def join(self, container: Any) -> None:
        """Add the track to an opened output, before its first frame."""
        if self._stream.codec_context.name in container.supported_codecs:
            self._packets = self._copied(container.add_stream_from_template(self._stream))
            return
        self._packets = self._encoded(container.add_stream(container.default_audio_codec, rate=_OPUS_RATE))

    def packets(self, until_s: float | None) -> Iterator[Any]:
        """The packets that begin before a time (None = all the rest), each once."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None:
                return
            begin = packet.pts if packet.dts is None else packet.dts
            if until_s is not None and begin is not None and float(begin * packet.time_base) >= until_s:
                return
            self._waiting = None
            yield packet

    def close(self) -> None:
        """Let the source go."""
        self._source.close()

    def _copied(self, target: Any) -> Iterator[Any]:
        import av

        start = round(self._start_s / self._stream.time_base)
        try:
            for packet in self._source.demux(self._stream):
                if packet.size == 0:  # what flushes a decoder
                    continue
                packet.pts = None if packet.pts is None else packet.pts - start
                packet.dts = None if packet.dts is None else packet.dts - start
                packet.stream = target
                yield packet
        except av.FFmpegError:
            return

    def _encoded(self, target: Any) -> Iterator[Any]:
        import av

        context = target.codec_context
        context.layout = "mono" if self._stream.codec_context.channels == 1 else "stereo"
        resampler = av.AudioResampler(format=context.codec.audio_formats[0], layout=context.layout, rate=_OPUS_RATE)
        fifo = av.AudioFifo()
        try:
            for frame in self._source.decode(self._stream):
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(self._start_s / frame.time_base)
                for part in resampler.resample(frame):
                    fifo.write(part)
                    while (piece := fifo.read(_frame_size(context))) is not None:
                        yield from target.encode(piece)
        except av.FFmpegError:
            return
        if (piece := fifo.read()) is not None:
            yield from target.encode(piece)
        yield from target.encode(None)


def _frame_size(context: Any) -> int:
    if not context.is_open:
        context.open()
    return context.frame_size or 960
