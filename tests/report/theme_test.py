from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.report import theme

TEXT = ("ink", "note", "good", "bad", "c0")  # c0 is also that of links
DRAWN = (*theme.SERIES, "line")


def luminance(color):
    """Relative luminance, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (
        x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4
        for x in parts
    )
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    """Contrast ratio of two colours, WCAG 2.2."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


class ThemeTest(TestCase):
    def test_contrast_by_hand(self):
        self.assertAllClose(contrast("#000000", "#ffffff"), 21.0)
        self.assertAllClose(contrast("#777777", "#ffffff"), 4.478, atol=1e-3)

    @parameterized.parameters(theme.LIGHT, theme.DARK)
    def test_text_can_be_read_and_lines_seen(self, **colors):
        for name in TEXT:
            ratio = contrast(colors[name], colors["paper"])
            self.assertGreaterEqual(ratio, 4.5, name)
        for name in DRAWN:
            ratio = contrast(colors[name], colors["paper"])
            self.assertGreaterEqual(ratio, 3.0, name)

    def test_names_are_the_same_and_colours_tell_names_apart(self):
        self.assertEqual(list(theme.LIGHT), list(theme.DARK))
        self.assertLen(set(theme.LIGHT.values()), len(theme.LIGHT))
        for color in theme.LIGHT.values():
            self.assertRegex(color, "^#[0-9a-f]{6}$")

    def test_cells_stand_out_from_either_paper(self):
        from matplotlib.colors import to_hex

        darkest = to_hex(theme.color_map()(0.0))
        self.assertGreaterEqual(contrast(darkest, theme.DARK["paper"]), 1.8)
        self.assertGreaterEqual(contrast(darkest, theme.LIGHT["paper"]), 3.0)
