"""A project opened in a real browser, as an annotator would: watch, read, answer with keys and clicks, submit.

Set RSAT_SCREENSHOT to a file to keep a picture of the page, and RSAT_SCREENSHOT_DATA to a dataset whose clip it shows
(docs/images/labelling.png was made so, of a synthetic one).
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="needs the extra 'annotate'")
pytest.importorskip("selenium", reason="needs selenium (extra 'dev')")

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from annotation.client import Client
from annotation.media import ClipSource, render
from annotation.project import init
from annotation.server import Account
from annotation.tasks import Addresses, make_transcript, neutral_title, task_data
from tests.annotation.server_fixture import LabelServer
from tests.media_factory import make_video, tone
from tests.media_factory import test_card as card

pytestmark = pytest.mark.label_server

WIDTH, HEIGHT = 1440, 900
TURNS = [
    ("A", "Did you bring the keys? I have looked everywhere since this morning."),
    ("B", "They are on the kitchen table, Mum, where you left them last night."),
    ("A", "Ah. And your brother, is he coming on Sunday, or is he too busy again?"),
    ("B", "He said he would try. He has to work until three, then he takes the train."),
    ("A", "Tell him that I want him here for lunch, and that he must not be late."),
    ("B", "I will tell him. You <b>know</b> how he is."),
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[WebDriver]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "disable-dev-shm-usage",
        f"window-size={WIDTH},{HEIGHT}",
        f"user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    page = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        page.set_page_load_timeout(120)
        page.set_script_timeout(60)
        # The window's frame does not count.
        inner = page.execute_script("return window.innerHeight")
        page.set_window_size(WIDTH, 2 * HEIGHT - inner)
        yield page
    finally:
        page.quit()


def wait_for(what: Callable[[], Any], message: str, seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, message
        time.sleep(0.1)


def make_source(folder: Path) -> ClipSource:
    """A clip: of the dataset RSAT_SCREENSHOT_DATA names, for pictures; else a test card with a tone."""
    if dataset := os.environ.get("RSAT_SCREENSHOT_DATA"):
        import pyarrow.dataset as ds

        clip = ds.dataset(Path(dataset) / "data" / "clips", format="parquet").head(1).to_pylist()[0]
        rows = ds.dataset(Path(dataset) / "data" / "triplets", format="parquet").to_table(
            filter=ds.field("clip_id") == clip["clip_id"], columns=["person", "image"]
        )
        faces = {row["person"]: row["image"]["bytes"] for row in rows.to_pylist()}
        sound, video = clip["audio"]["bytes"], clip["preview"]["bytes"]
        return ClipSource(clip["clip_id"], clip["num_frames"], sound, video, (faces["A"], faces["B"]))
    import soundfile
    from PIL import Image

    seconds = 4
    video = make_video(folder / "clip.mp4", card(640, 360), num_frames=seconds * 25, audio=tone(seconds))
    sound, face = io.BytesIO(), io.BytesIO()
    soundfile.write(sound, tone(seconds, 16_000)[0], 16_000, format="FLAC")
    Image.new("RGB", (256, 256), (120, 160, 120)).save(face, "JPEG")
    pictures = (face.getvalue(), face.getvalue())
    return ClipSource("clip", seconds * 25, sound.getvalue(), video.read_bytes(), pictures)


def pushed_tasks(server: LabelServer, owner: Client, project: int, source: ClipSource, count: int) -> list[int]:
    """Tasks of one clip, as push makes them."""
    folder = server.media_root / f"clips-{project}"
    folder.mkdir()
    made = render(source, folder)
    owner.add_local_storage(project, folder)
    seconds = source.num_frames / 25
    step = seconds / len(TURNS)
    turns = [
        {"person": person, "start": i * step, "end": (i + 1) * step, "text": text}
        for i, (person, text) in enumerate(TURNS)
    ]
    at = f"/data/local-files/?d={folder.name}/"
    addresses = Addresses(at + made.video, at + made.audio, at + made.face_a, at + made.face_b)
    data = [task_data(f"clip_{i}", make_transcript(turns, seconds), addresses) for i in range(count)]
    return owner.import_tasks(project, [{"data": entry} for entry in data])


def shown(page: WebDriver, title: str) -> bool:
    """Whether a heading of the form is on the screen, without scrolling."""
    script = """
        const headings = [...document.querySelectorAll('h3, h4, h5, h6')];
        const found = headings.filter(e => e.textContent.startsWith(arguments[0]));
        return found.some(e => { const r = e.getBoundingClientRect();
            return r.height > 0 && r.top >= 0 && r.bottom <= innerHeight && e.checkVisibility(); });"""
    return bool(page.execute_script(script, title))


def test_an_annotator_labels_a_clip(
    label_server: LabelServer,
    owner: Client,
    annotator: Callable[[], tuple[Account, Client]],
    browser: WebDriver,
    tmp_path: Path,
) -> None:
    (tmp_path / "conversations").mkdir()
    project = init(tmp_path / "conversations").project.project_id
    tasks = pushed_tasks(label_server, owner, project, make_source(tmp_path), 3)
    account, client = annotator()

    browser.get(f"{label_server.url}/user/login/")
    browser.find_element(By.NAME, "email").send_keys(account.email)
    browser.find_element(By.NAME, "password").send_keys(account.password)
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    wait_for(lambda: "/user/login" not in browser.current_url, "signing in did not end")
    browser.get(f"{label_server.url}/projects/{project}/data?labeling=1")

    # The guidelines come first.
    page = "return document.body.innerText"
    wait_for(lambda: "Words before looks" in browser.execute_script(page), "the guidelines were not shown")
    browser.execute_script("""
        const all = [...document.querySelectorAll('*')];
        let part = all.find(e => !e.childElementCount && e.textContent.trim() === 'Labeling Instructions');
        while (!part.querySelector('button')) part = part.parentElement;
        part.querySelector('button').click();""")
    wait_for(lambda: "Words before looks" not in browser.execute_script(page), "the guidelines did not close")

    # Everything is on the screen, and nothing needs scrolling.
    ready = "const v = document.querySelector('video'); return v ? v.readyState : 0"
    wait_for(lambda: browser.execute_script(ready) == 4, "the video did not load")
    text = wait_for(
        lambda: browser.execute_script("return document.querySelector('.lsf-paragraphs')?.innerText || ''"),
        "no transcript",
    )
    assert "kitchen table, Mum" in text and "<b>know</b>" in text
    faces = "return [...document.querySelectorAll('.rsat-face img')].map(i => i.complete && i.naturalWidth)"
    wait_for(lambda: all(browser.execute_script(faces)), "the faces did not load")
    for title in ("1. Are A and B", "2. Do they stand", "3. How certain"):
        assert shown(browser, title), f"'{title}' needs scrolling"
    assert not shown(browser, "2b. Who is senior?")
    assert browser.execute_script("return document.scrollingElement.scrollHeight <= innerHeight")
    video = browser.execute_script(
        "const r = document.querySelector('.lsf-video-canvas').getBoundingClientRect(); return [r.right, r.top]"
    )
    words = browser.execute_script(
        "const r = document.querySelector('.lsf-paragraphs').getBoundingClientRect(); return [r.left, r.top, r.bottom]"
    )
    assert video[0] <= words[0] and words[2] <= HEIGHT, "the transcript does not stand beside the video"

    # It plays, with the key that the waveform has, and picture and sound stay together.
    body = browser.find_element(By.TAG_NAME, "body")
    clock = "return document.querySelector('video').currentTime"
    body.send_keys(Keys.SPACE)
    wait_for(lambda: browser.execute_script(clock) > 0.5, "the video does not play")
    body.send_keys(Keys.SPACE)
    apart = "const v = document.querySelector('video'); return Math.abs(v.currentTime - %s)"
    wait_for(lambda: browser.execute_script("return document.querySelector('video').paused"), "it does not pause")
    sounds = browser.execute_script("return [...document.querySelectorAll('audio')].map(a => a.currentTime)")
    assert any(browser.execute_script(apart % sound) < 0.2 for sound in sounds if sound), sounds

    # Answers: by key, by click. Who is senior is asked only of those who are unequal.
    body.send_keys("1")
    body.send_keys("4")
    assert not shown(browser, "2b. Who is senior?")
    body.send_keys("5")
    wait_for(lambda: shown(browser, "2b. Who is senior?"), "who is senior is not asked")
    browser.find_element(By.XPATH, "//label[.//*[contains(text(), 'A, on the left')]]").click()
    browser.find_elements(By.CSS_SELECTOR, ".ant-rate-star")[3].click()
    # Words as evidence: the label by its key, then the words.
    body.send_keys("k")
    select = """
        const line = [...document.querySelectorAll('[class*=dialoguetext]')].find(e => e.innerText.includes('Mum'));
        const node = line.firstChild, at = line.innerText.indexOf('Mum'), range = document.createRange();
        range.setStart(node, at); range.setEnd(node, at + 3);
        getSelection().removeAllRanges(); getSelection().addRange(range);
        line.dispatchEvent(new MouseEvent('mouseup', {bubbles: true, view: window}));"""
    browser.execute_script(select)
    if picture := os.environ.get("RSAT_SCREENSHOT"):
        time.sleep(1)
        browser.save_screenshot(picture)

    def submit() -> Any:
        return browser.find_element(By.XPATH, "//button[.//*[text()='Submit'] or text()='Submit']")

    submit().click()

    (vote,) = wait_for(lambda: client.annotations(tasks[0]), "the vote did not arrive")
    answers = {entry["from_name"]: entry["value"] for entry in vote["result"]}
    assert answers["kinship"] == {"choices": ["blood"]} and answers["status"] == {"choices": ["unequal"]}
    assert answers["senior"] == {"choices": ["A"]} and answers["confidence"] == {"rating": 4}
    assert answers["evidence"]["paragraphlabels"] == ["Kinship cue"] and answers["evidence"]["text"] == "Mum"
    assert vote["completed_by"] == client.whoami()["id"] and vote["lead_time"] > 0

    # The next task follows, empty; it is not taken without all answers.
    wait_for(lambda: neutral_title("clip_1") in browser.execute_script(page), "the next task did not follow")
    wait_for(lambda: browser.execute_script(ready) == 4, "its video did not load")
    assert not browser.execute_script("return document.querySelectorAll('.rsat-card input:checked').length")
    browser.find_element(By.TAG_NAME, "body").send_keys("1")
    wait_for(lambda: submit().is_enabled(), "it cannot be sent")
    submit().click()
    wait_for(lambda: "Keys 4, 5, 6" in browser.execute_script(page), "no word of what is not answered")
    assert client.annotations(tasks[1]) == []
    # Pages of this server asked this server alone.
    assert {asked_host(entry) for entry in browser.get_log("performance")} <= {"", label_server.url.partition("//")[2]}


def asked_host(entry: dict[str, Any]) -> str:
    """Host of a request the page made over the network, empty for the browser's own."""
    import json
    from urllib.parse import urlsplit

    message = json.loads(entry["message"])["message"]
    if message["method"] != "Network.requestWillBeSent":
        return ""
    address = urlsplit(message["params"]["request"]["url"])
    return address.netloc if address.scheme in ("http", "https", "ws", "wss") else ""
