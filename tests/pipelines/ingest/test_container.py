from __future__ import annotations

import os
from fractions import Fraction

import pytest

from pipelines.ingest.container import open_media
from pipelines.ingest.media import probe
from rsat_data.errors import NoAudioTrack, NoVideoTrack, UnreadableSource, UnsupportedSource
from tests.media_factory import make_video, test_card, tone, truncate


def test_probe_tells_what_the_factory_made(tmp_path):
    path = make_video(
        tmp_path / "a.mp4", test_card(160, 96), num_frames=30, audio=tone(1.2, channels=2), sar=Fraction(4, 3)
    )
    info = probe(path)
    assert info.video is not None and info.audio is not None
    assert (info.video.codec, info.video.coded_width, info.video.coded_height) == ("h264", 160, 96)
    assert (info.video.width, info.video.height) == (213, 96)
    assert info.video.fps == 25
    assert info.video.declared_end_s == pytest.approx(1.2)
    assert (info.audio.codec, info.audio.channels, info.audio.sample_rate) == ("aac", 2, 48_000)


@pytest.mark.parametrize(
    "name", ["it's \"here\".mp4", "two\nlines.mp4", "Gespräch 会話 🎬.mp4", "concat:a|b.mp4", "%03d.mp4"]
)
def test_a_name_means_nothing_to_the_demuxer(tmp_path, name):
    path = make_video(tmp_path / "plain.mp4", test_card(64, 64), num_frames=5)
    odd = path.rename(tmp_path / name)
    assert probe(odd).video is not None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{other}\n#EXT-X-ENDLIST\n"),
        ("concat.mp4", "ffconcat version 1.0\nfile '{other}'\n"),
        ("session.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
    ],
)
def test_playlists_are_refused_and_never_followed(tmp_path, name, content):
    other = make_video(tmp_path / "other.mp4", test_card(64, 64), num_frames=5)
    path = tmp_path / name
    path.write_text(content.format(other=other), encoding="utf-8")
    with pytest.raises((UnsupportedSource, UnreadableSource), match=name) as caught:
        probe(path)
    assert caught.value.path == path and caught.value.hint


def test_images_are_refused(tmp_path):
    import cv2

    path = tmp_path / "photo.mp4"
    path.write_bytes(cv2.imencode(".png", test_card(64, 64)(0))[1].tobytes())
    with pytest.raises((UnsupportedSource, UnreadableSource), match=r"photo\.mp4"):
        probe(path)


def test_empty_text_and_missing_files(tmp_path):
    empty, text = tmp_path / "empty.mp4", tmp_path / "notes.mp4"
    empty.write_bytes(b"")
    text.write_text("This is a text, and was given the name of a video.\n" * 50, encoding="utf-8")
    with pytest.raises(UnreadableSource, match=r"'empty\.mp4'.*0 bytes"):
        probe(empty)
    with pytest.raises(UnreadableSource, match=r"'notes\.mp4'.*not a video"):
        probe(text)
    with pytest.raises(UnreadableSource, match=r"'none\.mp4'.*no such file"):
        probe(tmp_path / "none.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path):
    path = make_video(tmp_path / "locked.mp4", test_card(64, 64), num_frames=5)
    path.chmod(0)
    with pytest.raises(UnreadableSource, match=r"'locked\.mp4'.*permission"):
        probe(path)


def test_an_mp4_cut_off_before_its_index(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", test_card(160, 96), num_frames=30)
    with pytest.raises(UnreadableSource, match=r"'cut\.mp4'.*cut off"):
        probe(truncate(whole, tmp_path / "cut.mp4", 0.7))


def test_missing_tracks_are_told_apart(tmp_path):
    silent = make_video(tmp_path / "silent.mp4", test_card(64, 64), num_frames=5)
    blind = make_video(tmp_path / "blind.mp4", test_card(64, 64), num_frames=0, audio=tone(0.5))
    with open_media(silent) as opened, pytest.raises(NoAudioTrack, match=r"'silent\.mp4'"):
        opened.need_audio()
    with open_media(blind) as opened, pytest.raises(NoVideoTrack, match=r"'blind\.mp4'"):
        opened.need_video()
