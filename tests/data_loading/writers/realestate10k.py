from pathlib import Path

from writers.files import write_image, write_text
from writers.room import Room


def write(root: Path, clips: dict[str, Room], split="test") -> None:
    for name, room in clips.items():
        lines = ["https://www.youtube.com/watch?v=0"]
        for frame in range(len(room.images)):
            time = 50_000_000 + 33_367 * frame
            matrix = room.intrinsics[frame]
            camera = [matrix[0, 0] / room.width, matrix[1, 1] / room.height]
            camera += [matrix[0, 2] / room.width, matrix[1, 2] / room.height, 0, 0]
            numbers = [*camera, *room.camera_from_room[frame].flatten()]
            lines.append(f"{time} " + " ".join(f"{number:.9f}" for number in numbers))
            write_image(root / "frames" / split / name / f"{time}.png", room.images[frame])
        write_text(root / split / f"{name}.txt", "\n".join(lines) + "\n")
