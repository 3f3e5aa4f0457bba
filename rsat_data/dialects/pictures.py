"""Pictures of a sequence to the row's video, matte and key frame: streamed, one picture in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.dialects.track import BadDialectFile, Track
from rsat_data.errors import UnreadableSource

if TYPE_CHECKING:
    from model.camera import Camera

_CRF = 14
_QUALITY = 95


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures of a row."""

    videos: Mapping[str, bytes] = field(default_factory=dict)
    """video and matte, where there are some."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the video."""
    padded: bool = False
    """Whether a row or column was added, for H.264 wants even sides."""
    shown: tuple[Path, ...] = ()
    """The picture of every frame."""

    @staticmethod
    def encode(track: Track, nearest: np.ndarray, scratch: Path) -> Pictures:
        """Encode the pictures of the dataset's frames.

        Args:
            track: names the files.
            nearest: (N,) the track's frame that each frame of the dataset shows.
            scratch: folder for temporary files.

        Raises:
            UnreadableSource, BadDialectFile: a picture cannot be read, or has another size than the camera says.
        """
        if not track.pictures:
            return Pictures()
        from pipelines.ingest.encode import write_video

        camera = track.camera
        assert camera is not None
        size = (camera.height + camera.height % 2, camera.width + camera.width % 2)
        videos = {}
        for kind, paths in (("video", track.pictures), ("matte", track.masks)):
            if not paths:
                continue
            target = scratch / f"{kind}.mp4"
            shown = _stream([paths[number] for number in nearest], camera, grey=kind == "matte")
            write_video(target, shown, crf=_CRF)
            videos[kind] = target.read_bytes()
            target.unlink()
        return Pictures(
            videos, size, size != (camera.height, camera.width), tuple(track.pictures[number] for number in nearest)
        )

    def camera_of(self, camera: Camera) -> Camera:
        """The camera of the padded video: pixels were added right and below, so only its size changes."""
        return camera.crop(0, 0, self.size[1], self.size[0])

    def cell(self, kind: str, name: str) -> dict[str, Any] | None:
        """The video or the matte as a media cell."""
        return {"bytes": self.videos[kind], "path": name} if kind in self.videos else None

    def image(self, name: str, track: Track) -> dict[str, Any] | None:
        """The most frontal valid frame as JPEG; of equally frontal ones the first."""
        if not self.shown:
            return None
        import cv2

        assert track.valid is not None
        turn = np.linalg.norm(track.rotation.astype(np.float64), axis=1) + np.where(track.valid, 0.0, 10.0)
        picture = _read(self.shown[int(np.argmin(turn))], grey=False)
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return {"bytes": data.tobytes(), "path": name} if done else None


def _stream(paths: list[Path], camera: Camera, *, grey: bool) -> Iterator[np.ndarray]:
    for path in paths:
        picture = _read(path, grey=grey)
        if picture.shape[:2] != (camera.height, camera.width):
            raise BadDialectFile(
                f"{path} is {picture.shape[1]} x {picture.shape[0]} px, its camera {camera.width} x {camera.height}.",
                path=path,
            )
        more = ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), *(((0, 0),) if picture.ndim == 3 else ()))
        yield np.pad(picture, more, mode="edge")


def _read(path: Path, *, grey: bool) -> np.ndarray:
    """(H, W, 3) RGB, transparent parts on white; or (H, W) of a mask."""
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise UnreadableSource(f"{path} is not a readable picture.", path=path)
    if picture.dtype != np.uint8:
        picture = (picture.astype(np.float32) * (255.0 / np.iinfo(picture.dtype).max)).round().astype(np.uint8)
    if grey:
        return np.ascontiguousarray(picture if picture.ndim == 2 else picture[..., :3].max(axis=-1))
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=-1)
    if picture.shape[2] == 4:
        alpha = picture[..., 3:].astype(np.uint16)
        mixed = (picture[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha) + 127) // 255
        picture = mixed.astype(np.uint8)
    return np.ascontiguousarray(picture[..., ::-1])
