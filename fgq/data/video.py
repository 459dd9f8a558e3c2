"""Still frames of a video file at a chosen rate, through PyAV where it is installed."""

import math
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from fgq.data.reading import existing
from fgq.data.sequence import fault
from fgq.errors import FgqError

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
RATE = 1.0  # frames a second; views of a moving camera differ enough after a second


def frame_times(path: Path, rate: float = RATE) -> list[int]:
    """The presentation times, in the stream's own ticks, of the frames shown at 0, 1 / rate, 2 / rate, … seconds.

    Only the packets' headers are read. Raises FgqError for a missing package, a file without video and a bad rate.
    """
    if not 0 < rate < math.inf:
        raise FgqError(f"rate {rate} frames a second is not above 0, or endless")
    with opened(path) as video:
        stream = video.streams.video[0]
        ticks = sorted({packet.pts for packet in video.demux(stream) if packet.pts is not None})
        if not ticks:
            raise fault(path, "the video holds no frames", FgqError)
        step = 1 / (rate * float(stream.time_base))  # ticks from one wanted time to the next
    chosen, due = [], 0.0
    for tick in ticks:
        if tick - ticks[0] >= due - 0.5:  # half a tick of rounding
            chosen.append(tick)
            due = ((tick - ticks[0] + 0.5) // step + 1) * step
    return chosen


def read_frames(path: Path, times: list[int]) -> Iterator[Image.Image]:
    """The frames at these presentation times in their order, upright, RGB. Raises FgqError where one cannot be read."""
    wanted = iter(times)
    due = next(wanted, None)
    with opened(path) as video:
        from av.error import FFmpegError

        try:
            for frame in video.decode(video=0):
                if due is None:
                    return
                if frame.pts == due:
                    # A phone stores its turn beside the pixels; PyAV gives it counter-clockwise, as PIL wants it.
                    yield frame.to_image().rotate(frame.rotation, expand=True)
                    due = next(wanted, None)
        except FFmpegError as error:
            raise fault(path, f"the video cannot be decoded: {error}", FgqError) from error
    if due is not None:
        raise fault(path, f"the video ends before its frame at tick {due}: it is truncated or damaged", FgqError)


def opened(path: Path):
    """An open container with at least one video stream, to be used in `with`."""
    try:
        import av
    except ModuleNotFoundError as error:
        told = "videos need the package av: pip install av, or a folder of frames instead"
        raise fault(path, told, FgqError) from error
    try:
        video = av.open(str(existing(path)))
    except (av.error.FFmpegError, OSError, UnicodeError) as error:
        raise fault(path, f"not a readable video: {error}", FgqError) from error
    if not video.streams.video:
        video.close()
        raise fault(path, "holds no video stream", FgqError)
    return video
