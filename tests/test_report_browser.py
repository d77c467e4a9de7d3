"""The report in a real browser, at the widths of a desk and of a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qperf_app.report import render_report
from tests.report_examples import TWO_SLICES, participant, scan

WIDTHS = {"desktop": 1440, "phone": 390}

FAINT_TEXT = """() => {
  const rgb = (style) => style.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const ink = (element) => getComputedStyle(element)[element.tagName === "text" ? "fill" : "color"];
  const contrast = (element) => {
    const pair = [rgb(ink(element)), ground(element)].map(luminance);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const has_text = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  // Words with a rim of their own, and those on a segment's colour, are looked at by other tests.
  return [...document.querySelectorAll("main *:not(.edge, .segment-value, .segment-number)")]
    .filter((e) => has_text(e) && contrast(e) < 4.5)
    .map((e) => e.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "sub-07.html"
    path.write_text(render_report(participant()), encoding="utf-8")
    return path


class Visit:
    """An open report, with all that it asked for and all that it complained about."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_context(**context).new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def decoded_widths(self) -> list[int]:
        """Natural widths of all images once they are decoded."""
        return self.page.evaluate(
            "() => Promise.all([...document.images].map((i) => i.decode().then(() => i.naturalWidth, () => 0)))"
        )


@pytest.fixture(scope="module", params=WIDTHS, ids=list(WIDTHS))
def visit(request: pytest.FixtureRequest, browser: Any, page_file: Path) -> Visit:
    return Visit(browser, page_file, viewport={"width": WIDTHS[request.param], "height": 900})


def test_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    visit.page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert visit.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    outside = visit.page.evaluate(
        """() => [...document.querySelectorAll("main *")]
            .filter((e) => !e.closest(".scroll, .large[tabindex], pre"))
            .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
            .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert outside == []


@pytest.mark.parametrize("width", [1100, 1400, 400])
def test_no_words_of_a_drawing_are_cut_off(browser: Any, page_file: Path, width: int) -> None:
    visit = Visit(browser, page_file, viewport={"width": width, "height": 900})
    visit.page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    # A box of words has room for their descent and ascent, some px, that they need not fill.
    cut = visit.page.evaluate(
        """() => [...document.querySelectorAll("svg.drawing text")].filter((words) => {
            const [all, own] = [words.ownerSVGElement, words].map((e) => e.getBoundingClientRect());
            const [across, down] = [["left", "right"], ["top", "bottom"]].map(([a, b]) =>
              Math.max(all[a] - own[a], own[b] - all[b]));
            return Math.max(across, down) > 2;
        }).map((words) => words.textContent)"""
    )
    assert cut == []


def test_every_image_is_decoded_and_described(visit: Visit) -> None:
    widths = visit.decoded_widths()
    assert len(widths) > 8 and min(widths) > 0
    assert visit.page.evaluate("() => [...document.images].every((image) => image.alt.length > 10)")
    drawn = visit.page.evaluate(
        """() => Promise.all([...document.querySelectorAll("svg image")]
            .map((i) => i.decode().then(() => 1, () => 0)))"""
    )
    assert len(drawn) > 15 and all(drawn)
    # What a drawing refers to is there, once.
    assert visit.page.evaluate(
        """() => [...document.querySelectorAll("svg use")]
            .every((u) => document.querySelectorAll(u.getAttribute("href")).length === 1)"""
    )
    assert visit.page.evaluate(
        """() => [...document.querySelectorAll("svg[role=img]")]
            .every((d) => d.getAttribute("aria-label").length > 10)"""
    )


def test_nothing_is_fetched_and_nothing_is_wrong(visit: Visit, page_file: Path) -> None:
    visit.decoded_widths()
    assert [url for url in visit.requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert visit.complaints == []


def test_headings_make_an_outline(visit: Visit) -> None:
    levels = visit.page.evaluate("() => [...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
    assert levels[:2] == [1, 2] and levels.count(1) == 1
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))
    anchors = visit.page.evaluate(
        "() => [...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.getAttribute('href')))"
    )
    assert anchors


def test_moving_picture_stops_and_steps(visit: Visit) -> None:
    movie = visit.page.locator(".movie").first
    movie.locator("canvas").wait_for(timeout=10_000)
    movie.scroll_into_view_if_needed()
    slider, label, button = movie.locator("input"), movie.locator("output"), movie.locator("button")
    before = slider.input_value()
    visit.page.wait_for_function("([input, value]) => input.value !== value", arg=[slider.element_handle(), before])
    button.click()
    assert button.inner_text() == "Play"
    slider.fill("3")
    visit.page.wait_for_function("(output) => output.textContent.startsWith('4/12')", arg=label.element_handle())
    assert label.inner_text() == "4/12, 3.0 s"
    visit.page.wait_for_timeout(500)
    assert slider.input_value() == "3"
    button.click()
    visit.page.wait_for_function("(input) => input.value !== '3'", arg=slider.element_handle())


def test_slices_of_the_moving_picture_are_named_beside_their_row(visit: Visit) -> None:
    movie = visit.page.locator(".movie").first
    movie.locator("canvas").wait_for(timeout=10_000)
    film, names = movie.locator("canvas").bounding_box(), movie.locator(".names span")
    assert names.all_inner_texts() == ["Slice 1, basal", "Slice 2, mid"]
    for row, name in enumerate(names.all()):
        box = name.bounding_box()
        assert 0 <= box["y"] - film["y"] - row * film["height"] / 2 < 0.2 * film["height"]
        assert box["height"] >= 14


def test_a_strip_that_goes_on_beside_the_screen_says_so(visit: Visit) -> None:
    hint = "(e) => getComputedStyle(e.previousElementSibling, '::after').content"
    strips = visit.page.locator(".large[tabindex]")
    assert strips.count() > 2
    for strip in strips.all():
        goes_on = strip.evaluate("(e) => e.scrollWidth > e.clientWidth + 1")
        assert ("swipe" in strip.evaluate(hint)) == goes_on


def test_page_is_whole_without_scripts(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, java_script_enabled=False, viewport={"width": 390, "height": 900})
    assert visit.page.locator(".movie img").first.is_visible()
    assert not visit.page.locator(".controls").first.is_visible()
    assert visit.page.get_by_role("heading", name="Participant 07").is_visible()


def test_reader_who_wants_no_movement_gets_a_still(browser: Any, page_file: Path) -> None:
    visit = Visit(browser, page_file, reduced_motion="reduce", viewport={"width": 1440, "height": 900})
    movie = visit.page.locator(".movie").first
    movie.locator("canvas").wait_for(timeout=10_000)
    movie.scroll_into_view_if_needed()
    shown = movie.locator("output").inner_text()
    visit.page.wait_for_timeout(600)
    assert movie.locator("output").inner_text() == shown
    assert movie.locator("button").inner_text() == "Play"


def test_text_stands_out_from_its_background(visit: Visit) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3) for all text, on a light and on a dark page."""
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        assert visit.page.evaluate(FAINT_TEXT) == []
    visit.page.emulate_media(color_scheme="light")


def test_it_prints_on_two_pages(browser: Any, page_file: Path, tmp_path: Path) -> None:
    visit = Visit(browser, page_file)
    pdf = visit.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    # Some lines more in the summary begin no third page.
    more = "more => document.querySelector('#summary').append(...Array.from({ length: more }, () => "
    visit.page.evaluate(more + "Object.assign(document.createElement('p'), { textContent: 'One line more.' })))", 7)
    pdf = visit.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    visit.page.emulate_media(media="print")
    sizes = (
        "['body', '.caption', '.listing li'].map(s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize))"
    )
    body, caption, listing = visit.page.evaluate(sizes)
    assert caption < body and listing < body
    words = visit.page.locator("body").inner_text()
    assert "All segments" in words and "Myocardial blood flow by nlls" in words
    assert "What was done" not in words


def test_every_printed_page_bears_participant_session_and_day(browser: Any, tmp_path: Path) -> None:
    """Words in the margin are no part of the document; they are read from what is printed."""
    if shutil.which("gs") is None:
        pytest.skip("no Ghostscript on the PATH to read the printed page with")
    scans = (scan(task, shape=TWO_SLICES, entities={"task": task, "ses": "A"}) for task in ("rest", "stress"))
    path = tmp_path / "page.html"
    path.write_text(render_report(participant(*scans, computed="2026-03-05T11:02:00+00:00")), encoding="utf-8")
    visit = Visit(browser, path)
    assert "Session A, computed on 2026-03-05" in visit.page.locator("header").inner_text()
    visit.page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    read = ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER", "-sDEVICE=txtwrite", f"-sOutputFile={tmp_path}/%d.txt"]
    subprocess.run([*read, str(tmp_path / "page.pdf")], check=True)
    pages = [" ".join(path.read_text(encoding="utf-8").split()) for path in sorted(tmp_path.glob("*.txt"))]
    assert len(pages) == 2
    for number, words in enumerate(pages, 1):
        assert words.startswith(f"Participant 07, session A, computed on 2026-03-05 Page {number} of 2")
