"""The page in a browser: figures, hover, phone, dark; no network."""

import os
import pathlib
import shutil

import pytest

from tests.report import result_files as files
from tests.test_case import TestCase
from tfshrink.report import theme
from tfshrink.report.report import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def browser_path():
    """Where Chromium is, or nothing."""
    named = os.environ.get("TFSHRINK_CHROMIUM")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


def missing():
    """What these tests lack, in words, or nothing."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "needs playwright: pip install -e '.[browser]'"
    if not browser_path():
        return (
            f"needs Chromium: none of {', '.join(BROWSERS)} is on the PATH, "
            "and TFSHRINK_CHROMIUM names none"
        )
    return ""


def rgb(color):
    """`#0102ff` as `rgb(1, 2, 255)`."""
    numbers = [str(int(color[i : i + 2], 16)) for i in (1, 3, 5)]
    return f"rgb({', '.join(numbers)})"


@pytest.mark.chromium
@pytest.mark.skipif(bool(missing()), reason=missing())
class BrowserTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from playwright.sync_api import sync_playwright

        started = sync_playwright().start()
        cls.addClassCleanup(started.stop)
        # Root has no sandbox; the page is our own.
        cls.browser = started.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox"]
        )
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def open(self, places, viewport=DESK, **options):
        """The page in a browser, whose messages and requests are kept."""
        path = self.folder / "page.html"
        report(places, path)
        context = self.browser.new_context(viewport=viewport, **options)
        self.addCleanup(context.close)
        page = context.new_page()
        self.messages, self.requests = [], []
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        return page

    def point_at(self, page, figure, index):
        """Moves the mouse to a place of a figure; what is shown there."""
        spot = page.evaluate(
            """([id, index]) => {
              const figure = document.getElementById(id);
              const svg = figure.querySelector("svg");
              svg.scrollIntoView({block: "center"});
              const [x, y] = JSON.parse(figure.dataset.tips)[index];
              const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
              return [at.x, at.y];
            }""",
            [figure, index],
        )
        page.mouse.move(*spot)
        tip = page.locator("#tip")
        return tip.inner_text() if tip.is_visible() else None

    def figure(self, page, ending):
        """The id of the first figure whose id ends so."""
        found = page.locator(f"figure[id$='-{ending}']").first
        return found.get_attribute("id")

    def test_every_figure_is_seen_without_an_error_or_a_request(self):
        page = self.open(files.everything(self.folder))
        figures = page.locator("figure.chart svg")
        self.assertGreater(figures.count(), 20)
        for figure in figures.all():
            box = figure.bounding_box()
            self.assertGreater(box["width"], 300)
            self.assertGreater(box["height"], 80)
            self.assertGreater(figure.locator("path").count(), 3)
        self.assertEqual(self.messages, [])
        self.assertEqual(self.requests, [page.url])

    def test_pointing_shows_the_value_of_what_is_pointed_at(self):
        found = files.search_folder(self.folder / "found")
        proof = files.write(self.folder / "proof.json", files.certificate())
        mind = files.write(self.folder / "mind.json", files.sensitivity())
        page = self.open([found, proof, mind])
        front = self.figure(page, "front")
        self.assertEqual(
            self.point_at(page, front, 0),
            "c, 4.00 bits\nMB: 0.3\nmargin of the worst prompt: -0.2\nviolated",
        )
        shown = self.point_at(page, self.figure(page, "bit_map"), 0)
        self.assertEqual(shown, "8: block_00/attention_in\n8 bits")
        shown = self.point_at(
            page, self.figure(page, "margins_over_tokens_4"), 7
        )
        self.assertIn("token 1\nfactual: margin -0.1000", shown)
        shown = self.point_at(page, self.figure(page, "sensitivity"), 1)
        self.assertEqual(
            shown,
            "block_01/attention_in at 8 bits\n0.625 mean divergence, nats",
        )
        page.mouse.move(1, 1)
        self.assertFalse(page.locator("#tip").is_visible())
        self.assertEqual(page.locator(".mark").count(), 0)

    def test_all_that_lies_on_one_place_is_shown(self):
        runs = [files.run_folder(self.folder / name) for name in "ab"]
        page = self.open(runs)
        shown = self.point_at(page, self.figure(page, "compared_1"), 0)
        self.assertIn("a, 4", shown)
        self.assertIn("b, 4", shown)

    def test_arrow_keys_step_through_a_figure(self):
        page = self.open([files.search_folder(self.folder / "found")])
        page.locator("figure[id$='-front']").focus()
        texts = []
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            texts.append(page.locator("#tip").inner_text().split(",")[0])
        self.assertEqual(texts, ["c", "a", "c"])
        page.keyboard.press("Escape")
        self.assertFalse(page.locator("#tip").is_visible())

    def test_a_phone_scrolls_tables_and_not_the_page(self):
        page = self.open(
            files.everything(self.folder), PHONE, has_touch=True, is_mobile=True
        )
        wide = page.evaluate("document.documentElement.scrollWidth")
        self.assertLessEqual(wide, PHONE["width"])
        scrolling = page.evaluate(
            "[...document.querySelectorAll('.scroll')]"
            ".some((own) => own.scrollWidth > own.clientWidth)"
        )
        self.assertTrue(scrolling)
        # Letters of figures, in pixels as they are seen.
        sizes = page.evaluate(
            """[...document.querySelectorAll("figure.chart svg")].map((svg) =>
              Math.min(...[...svg.querySelectorAll("text")].map((text) =>
                parseFloat(getComputedStyle(text).fontSize)))
              * svg.getScreenCTM().a)"""
        )
        self.assertGreater(min(sizes), 8)

    def test_a_touch_shows_a_value_inside_of_the_screen(self):
        page = self.open(
            [files.search_folder(self.folder / "found")],
            PHONE,
            has_touch=True,
            is_mobile=True,
        )
        figure = self.figure(page, "front")
        page.locator(f"[id='{figure}']").scroll_into_view_if_needed()
        for index in range(5):
            self.assertIn("MB: ", self.point_at(page, figure, index))
            box = page.locator("#tip").bounding_box()
            self.assertGreaterEqual(box["x"], 0)
            self.assertLessEqual(box["x"] + box["width"], PHONE["width"])

    def test_colours_follow_light_and_dark(self):
        place = files.run_folder(self.folder / "run")
        for scheme, colors in (("light", theme.LIGHT), ("dark", theme.DARK)):
            page = self.open([place], color_scheme=scheme)
            paper, ink, label, line = page.evaluate(
                """(() => {
                  const of = (what) => getComputedStyle(what);
                  const svg = document.querySelector("figure.chart svg");
                  const label = [...svg.querySelectorAll("text")]
                    .find((own) => own.textContent === "step");
                  const line = [...svg.querySelectorAll("path")]
                    .map((own) => of(own).stroke);
                  return [of(document.body).backgroundColor,
                    of(document.body).color, of(label).fill, line];
                })()"""
            )
            self.assertEqual(paper, rgb(colors["paper"]))
            self.assertEqual(ink, rgb(colors["ink"]))
            self.assertEqual(label, rgb(colors["ink"]))
            self.assertIn(rgb(colors["c0"]), line)
            self.assertIn(rgb(colors["c1"]), line)
