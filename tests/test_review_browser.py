"""The review in a real browser: a border is dragged, a point moved, flow computed again, and the report has changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qperf_app.geometry.segments import SEGMENT_NAMES
from qperf_app.review.study import Study
from tests.reviewed import finished_study

KEY = "sub-01_task-rest"
SIZES = {"laptop": (1366, 768), "tablet": (1024, 768), "tablet upright": (820, 1180)}
#: ms; a machine that does other things takes long to compute.
PATIENCE = 300_000


Visit = Callable[..., "Session"]


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    """Open the list in a browser of its own; all are closed again, since a server has six connections to a browser."""
    sessions: list[Session] = []

    def opened(size: tuple[int, int] = SIZES["laptop"]) -> Session:
        sessions.append(Session(browser, address, size))
        return sessions[-1]

    yield opened
    for session in sessions:
        session.page.context.close()
        assert not session.complaints


@pytest.fixture(scope="module")
def study(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return finished_study(tmp_path_factory.mktemp("reviewed"))


@pytest.fixture(scope="module")
def address(study: Study) -> Iterator[str]:
    command = [sys.executable, "-m", "qperf_app.cli.tools", "review", str(study.out_dir), "--reader", "Ann"]
    with subprocess.Popen(
        [*command, "--work-dir", str(study.work_dir)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


class Session:
    """A page of its own, as another browser has it, and all that it complained about."""

    def __init__(self, browser: Any, address: str, size: tuple[int, int] = SIZES["laptop"]) -> None:
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(address)

    def _note(self, message: Any) -> None:
        # What is refused since somebody else was first is told to the reader too.
        if message.type == "error" and "409" not in message.text:
            self.complaints.append(message.text)

    def open(self) -> Session:
        """Open the scan, by the keyboard."""
        self.page.locator("tr.row").first.wait_for()
        self.page.keyboard.press("Enter")
        self.page.locator("canvas.view").first.wait_for()
        return self

    def told(self) -> Any:
        """What the server has of the scan."""
        return self.page.evaluate(
            "async (key) => (await fetch(`/api/scans/${key}`, { headers: { Authorization:"
            " `Bearer ${sessionStorage.getItem('qperf-review-token')}` } })).json()",
            KEY,
        )

    def drag(self, start: Any, by: tuple[float, float]) -> None:
        """Drag from a place of the image, column and row, by pixels of the screen."""
        canvas = self.page.locator("canvas[data-view='tissue-0']")
        scale, offset = np.array(json.loads(canvas.get_attribute("data-place")))
        box = canvas.bounding_box()
        x, y = (np.asarray(start) + 0.5) * scale + offset + [box["x"], box["y"]]
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + by[0] / 2, y + by[1] / 2)
        self.page.mouse.move(x + by[0], y + by[1])
        self.page.mouse.up()

    def says(self, text: str) -> None:
        """Wait until the page says so."""
        self.page.locator(".status", has_text=text).wait_for()

    def segments(self) -> list[int]:
        return [int(number) for number in self.page.locator(".flow th").all_inner_texts()]

    def flow(self) -> list[str]:
        return list(self.page.locator(".flow td:nth-child(2)").all_inner_texts())


def test_a_scan_is_corrected_and_computed_again(visit: Visit, address: str, study: Study) -> None:
    session = visit().open()
    assert "#/" in session.page.url and address.partition("#")[2] not in session.page.url
    before, flow = session.told(), session.flow()
    region = before["edits"]["regions"]["myocardium"][0]
    session.drag(region["outer"][0], (34, 16))
    session.says("Kept as a draft")
    point = before["edits"]["points"][0]
    session.drag((point["x"], point["y"]), (-9, 7))
    session.page.locator("h2 small", has_text="insertion points").wait_for()
    # The browser is closed in the middle: all is still there in the next one.
    kept = session.told()
    session.page.close()
    again = visit().open()
    after = again.told()
    assert after["edits"] == kept["edits"] and after["version"] >= 2
    moved = after["edits"]["regions"]["myocardium"][0]
    assert moved["outer"][0] != pytest.approx(region["outer"][0]) and moved["painted"] is None
    assert moved["outer"][5] == pytest.approx(region["outer"][5])
    assert after["edits"]["points"][0] != point
    assert after["preview"]["segments"] != before["preview"]["segments"]
    report = (study.out_dir / "sub-01.html").read_text(encoding="utf-8")
    again.page.locator("#compute").click()
    again.says("Computed in")
    changed = again.flow()
    assert changed != flow
    assert again.page.locator(".flow .changed").count() >= 2
    with again.page.expect_popup() as opened:
        again.page.locator("#report").click()
    shown = opened.value
    shown.wait_for_load_state()
    for segment, old, new in zip(again.segments(), flow, changed, strict=True):
        if old != new:
            rows = shown.locator("tr", has_text=SEGMENT_NAMES[segment]).all_text_contents()
            assert any(new in row for row in rows), (segment, old, new, rows)
    assert (study.out_dir / "sub-01.html").read_text(encoding="utf-8") != report
    # What flow was is there in the next session too, and the list says that the scan was corrected.
    again.page.close()
    third = visit().open()
    assert third.page.locator(".flow .changed").count() >= 2
    third.page.locator("#accept").click()
    third.page.locator("tr.row .badge.accepted").wait_for()
    assert third.page.locator("tr.row .badge.corrected").count() == 1


def test_a_scan_that_is_slow_to_come_says_so(visit: Visit) -> None:
    session = visit()
    session.page.locator("tr.row").first.wait_for()
    held: list[Any] = []
    session.page.route(f"**/api/scans/{KEY}", lambda route: held.append(route))
    session.page.keyboard.press("Enter")
    session.page.locator(".message", has_text="Loading").wait_for()
    held[0].continue_()
    session.page.locator("canvas.view").first.wait_for()
    assert session.page.locator(".message", has_text="Loading").count() == 0


def test_undo_takes_back_what_was_drawn(visit: Visit) -> None:
    session = visit().open()
    before = session.told()["edits"]["regions"]["myocardium"][0]
    session.drag(before["outer"][3], (10, 10))
    session.says("Kept as a draft")
    assert session.told()["edits"]["regions"]["myocardium"][0] != before
    session.page.keyboard.press("Control+z")
    session.page.locator("#undo:disabled").wait_for()
    session.page.wait_for_timeout(500)
    assert session.told()["edits"]["regions"]["myocardium"][0] == before


def test_what_was_computed_can_still_be_undone(visit: Visit) -> None:
    session = visit().open()
    before = session.told()["edits"]["regions"]["myocardium"]
    session.drag(before[0]["outer"][0], (20, 10))
    session.says("Kept as a draft")
    drawn = session.told()["edits"]["regions"]["myocardium"]
    assert drawn != before
    session.page.locator("#compute").click()
    session.says("Computed in")
    assert session.told()["edits"]["regions"]["myocardium"] == drawn
    session.page.keyboard.press("Control+z")
    session.says("Kept as a draft")
    assert session.told()["edits"]["regions"]["myocardium"] == before


def test_a_brush_paints_and_a_frame_is_left_out(visit: Visit) -> None:
    session = visit().open()
    before = session.told()
    session.page.keyboard.press("b")
    session.drag(before["edits"]["regions"]["myocardium"][0]["outer"][6], (20, -15))
    session.says("Kept as a draft")
    after = session.told()
    painted = after["edits"]["regions"]["myocardium"][0]["painted"]
    assert sum(painted[1::2]) > sum(byte > 0 for byte in bytes.fromhex(before["preview"]["segments"][0]))
    session.page.keyboard.press("l")
    session.page.locator("output", has_text="left out of the tissue series").wait_for()
    session.page.wait_for_timeout(500)
    (frame,) = session.told()["edits"]["left_out"]["tissue"]
    assert 0 < frame < before["planes"]["tissue"]["shape"][1]
    session.page.keyboard.press("Control+z")
    session.page.keyboard.press("Control+z")
    session.page.locator("#undo:disabled").wait_for()
    session.page.wait_for_timeout(500)
    assert session.told()["edits"]["left_out"] == before["edits"]["left_out"]


def test_the_spleen_is_marked_in_the_whole_image(visit: Visit) -> None:
    session = visit().open()
    before = session.told()["edits"]["touched"]
    view = session.page.locator("canvas[data-view='tissue-0']")
    near = view.get_attribute("data-place")
    session.page.locator("button[data-structure='spleen']").click()
    assert view.get_attribute("data-place") != near
    session.page.keyboard.press("b")
    session.drag((4.0, 28.0), (30, -20))
    session.says("Kept as a draft")
    session.page.locator("h2 small", has_text="spleen").wait_for()
    told = session.told()["edits"]
    assert told["touched"] == [*before, "spleen"] and sum(told["regions"]["spleen"][0]["painted"][1::2]) > 10
    session.page.locator("button[data-structure='myocardium']").click()
    assert view.get_attribute("data-place") == near
    session.page.keyboard.press("Control+z")
    session.page.locator("#undo:disabled").wait_for()
    session.page.wait_for_timeout(500)
    assert session.told()["edits"]["touched"] == before


def test_a_second_session_is_told_and_loads_again(visit: Visit) -> None:
    first, second = visit().open(), visit().open()
    region = first.told()["edits"]["regions"]["myocardium"][0]
    first.drag(region["outer"][2], (6, 6))
    first.says("Kept as a draft")
    mine = first.told()["edits"]
    second.drag(region["outer"][4], (-12, 6))
    second.says("Changed meanwhile by Ann")
    assert second.told()["edits"] == mine
    second.page.locator("#load-again").click()
    second.page.locator("#load-again").wait_for(state="detached")
    second.drag(region["outer"][4], (-12, 6))
    second.says("Kept as a draft")
    assert second.told()["edits"]["regions"]["myocardium"][0]["outer"][2] == pytest.approx(
        mine["regions"]["myocardium"][0]["outer"][2]
    )


@pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
def test_everything_is_within_reach(visit: Visit, size: tuple[int, int]) -> None:
    session = visit(size).open()
    for name in ("#compute", "#accept", "#not-usable", "#report", "canvas[data-view='tissue-0']"):
        box = session.page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
        assert box["y"] >= 0 and box["y"] + box["height"] <= size[1]
    assert session.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for button in session.page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 36


def test_the_token_is_not_among_what_other_users_can_see(address: str) -> None:
    token = address.partition("#")[2]
    assert len(token) >= 43
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    if not lines:
        pytest.skip("this system has no /proc")
    assert not any(token.encode() in line for line in lines)
