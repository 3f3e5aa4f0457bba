"""How annotators get a clip's files: made in a folder, and put where the browser finds them.

Three ways: ``local`` (a folder below the document root of a server on this machine), ``upload`` (through the server's
API), ``url`` (a folder the user serves). Each file is made once and sent once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from annotation.catalogue import Catalogue
from annotation.client import Client
from annotation.media import ClipMedia, ClipSource, media_of, render, sweep
from annotation.store import Media, Project, Round
from annotation.tasks import Addresses
from rsat_data.errors import LabelError, SkippedClip

UPLOADS = "uploads"


class Delivery:
    """The files of one project."""

    def __init__(self, client: Client, round_: Round, project: Project, media: Media) -> None:
        self.media = media
        self._client, self._round, self._project = client, round_, project
        self.folder = _folder(round_, project, media)
        self._uploaded = {record["name"]: record["url"] for record in round_.read(UPLOADS)}

    def prepare(self) -> None:
        """Make the folder, free of what a killed run left half made, and have the server show its files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        if self.media.mode == "local":
            self._client.add_local_storage(self._project.project_id, self.folder, "rsat-data clips")

    def make(
        self,
        catalogue: Catalogue,
        wanted: set[str],
        *,
        workers: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[dict[str, ClipMedia], dict[str, str]]:
        """Make the files of clips: clip -> its files, and clip -> why it is damaged.

        Memory does not grow with the number of clips: they are read no faster than they are made.
        """
        found: dict[str, ClipMedia] = {}
        failed: dict[str, str] = {}
        workers = workers or min(8, os.cpu_count() or 1)
        progress(0, len(wanted))

        def settle(future: Future[ClipMedia], clip_id: str) -> None:
            try:
                found[clip_id] = future.result()
            except SkippedClip as error:
                failed[clip_id] = error.message
            progress(len(found) + len(failed), len(wanted))

        if not wanted:
            return found, failed
        pool = ThreadPoolExecutor(workers)
        try:
            waiting: list[tuple[Future[ClipMedia], str]] = []
            for source in catalogue.sources(wanted):
                waiting.append((pool.submit(self._make, source), source.clip_id))
                if len(waiting) >= 2 * workers:
                    settle(*waiting.pop(0))
            for future, clip_id in waiting:
                settle(future, clip_id)
        finally:
            pool.shutdown(cancel_futures=True)
        return found, failed

    def _make(self, source: ClipSource) -> ClipMedia:
        names = media_of(source)
        if self.media.mode == "upload" and all(name in self._uploaded for name in names.names):
            return names
        return render(source, self.folder)

    def addresses(self, media: ClipMedia) -> Addresses:
        """Where the browser gets a clip's files; uploads those that were not."""
        return Addresses(*(self._address(name) for name in media.names))

    def _address(self, name: str) -> str:
        if self.media.mode == "url":
            return self.media.prefix + name
        if self.media.mode == "local":
            return f"/data/local-files/?d={self.folder.name}/{name}"
        if name not in self._uploaded:
            url = self._client.upload(self._project.project_id, self.folder / name)
            # Noted at once: uploading it again would leave a second copy on the server.
            self._round.append(UPLOADS, [{"name": name, "url": url}])
            self._uploaded[name] = url
        return self._uploaded[name]

    def size(self, names: list[str]) -> int:
        """Bytes of files that are in the folder."""
        return sum(path.stat().st_size for name in names if (path := self.folder / name).exists())

    def done_with(self, names: list[str]) -> None:
        """The task with these files is on the server: uploaded ones need not lie here, too."""
        if self.media.mode == "upload":
            for name in names:
                (self.folder / name).unlink(missing_ok=True)


def decide_media(
    mode: str, root: Path | None, url: str | None, project: Project, server: Mapping[str, str], store_root: Path
) -> Media:
    """How files get to annotators.

    Args:
        mode: auto, local, upload or url.
        root: local: the server's document root; url: the folder that is served. None where not given.
        url: what comes before a file's name.
        project: what was decided before.
        server: what is known of the server: url, media_root.
        store_root: the dataset's store.

    Raises:
        LabelError: the document root is not known, or cannot be written to.
    """
    before = project.media
    if mode == "url":
        folder = root if root is not None else store_root / "media"
        return Media("url", str(Path(folder).resolve()), (url or "").rstrip("/") + "/")
    if mode == "auto" and before.mode != "auto" and root is None:
        return before
    known = server.get("media_root") if server.get("url") == project.url else None
    candidates = [root, before.root if before.mode == "local" else None, known]
    found = next((Path(candidate) for candidate in candidates if candidate), None)
    if mode == "upload" or (mode == "auto" and found is None):
        return Media("upload")
    if found is None:
        raise LabelError(
            "Where the server's document root is, is not known.",
            hint="Give it with --media-root, or send files through the server with --media upload.",
        )
    found = found.resolve()
    if not found.is_dir() or not os.access(found, os.W_OK):
        if mode == "auto" and root is None:
            return Media("upload")
        raise LabelError(
            f"{found} is not a folder that can be written to.",
            hint="Give the server's document root on this machine, or send files with --media upload.",
            path=found,
        )
    return Media("local", str(found))


def _folder(round_: Round, project: Project, media: Media) -> Path:
    if media.mode == "local":
        # The server refuses its document root itself as a folder of a project.
        return Path(media.root) / f"clips-{project.project_id}"
    if media.mode == "url":
        return Path(media.root)
    return round_.store.root / "media"
