"""What README and docs say: links, commands, names and figures."""

import collections
import functools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

from absl.testing import parameterized

from tests.test_case import TestCase

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SCRIPTS = ("benchmarks/", "examples/", "docs/")
STANDS_FOR = re.compile(r"--(exit|kv)=(.*\.\.\.|[A-Z]+)$|^\.\.\.$")
# Figures that prove something: with a point, or of thousands.
FIGURE = re.compile(r"(?<![\w.])\d[\d,]*\.\d+|(?<![\w.])\.\d+|\d+,\d{3}")


@functools.cache
def text_of(page):
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def links_of(page):
    """`(file, anchor)` of the relative links of a page, from the root."""
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = pathlib.PurePosixPath(page).parent / path
        place = os.path.normpath(place) if path else page
        yield place, anchor


def anchors_of(page):
    """What the headings of a page can be linked by, as GitHub names them."""
    seen, found = collections.Counter(), set()
    for title in re.findall(
        r"^#+ +(.*)$", FENCE.sub("", text_of(page)), re.MULTILINE
    ):
        words = re.sub(r"[^\w\- ]", "", title.strip().lower())
        slug = words.replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def commands_of(page):
    """`(script, arguments, inline)` of the commands of a page."""
    text = text_of(page)
    fenced = re.findall(r"^```(?:bash)?\n(.*?)^```$", text, re.M | re.S)
    lines = "\n".join(fenced).replace("\\\n", " ").splitlines()
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    own = [(line, False) for line in lines]
    own += [(" ".join(span.split()), True) for span in spans]
    for line, inline in own:
        if not re.match(r"(.*&& *)?(bin/\w|python3? )", line):
            continue
        for words in parts_of(line):
            if words[0] in ("python", "python3"):
                words = words[1:]
                if not words or not words[0].startswith(SCRIPTS):
                    continue
            if words[0].startswith(("bin/", *SCRIPTS)):
                typed = words[1:]
                if inline:  # `--exit=POLICY` stands for any
                    typed = [x for x in typed if not STANDS_FOR.search(x)]
                yield words[0], typed, inline


def parts_of(line):
    """The words of each command of a line, split at `&&`."""
    words = shlex.split(line, comments=True)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        if words[:end]:
            yield words[:end]
        words = words[end + 1 :]


def mistakes(script, commands):
    """What is wrong with each list of arguments of a script."""
    done = subprocess.run(
        [sys.executable, "tests/documented.py", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise AssertionError(f"{script}: {done.stderr}")
    return json.loads(done.stdout)


def documented():
    """`{script: [(page, arguments, inline)]}` of all pages."""
    found = collections.defaultdict(list)
    for page in PAGES:
        for script, *own in commands_of(page):
            if script != "docs/build.py":
                found[script].append((page, *own))
    return found


DOCUMENTED = documented()


class DocsTest(TestCase):
    @parameterized.parameters(PAGES)
    def test_links_lead_somewhere(self, page):
        for place, anchor in links_of(page):
            self.assertTrue((ROOT / place).exists(), f"{page}: {place}")
            if anchor:
                self.assertIn(anchor, anchors_of(place), f"{page}: {place}")

    def test_anchors_are_those_of_github(self):
        self.assertContainsSubset(
            ["what-good-means", "tokens-that-leave-early"],
            anchors_of("docs/search.md"),
        )

    def test_every_page_is_found_from_the_index(self):
        seen, new = set(), ["docs/index.md"]
        while new:
            page = new.pop()
            if page not in seen:
                seen.add(page)
                places = (place for place, _ in links_of(page))
                new += [x for x in places if x.endswith(".md")]
        self.assertLessEqual({x for x in PAGES if "docs/" in x}, seen)

    @parameterized.parameters(sorted(DOCUMENTED))
    def test_documented_commands_are_taken(self, script):
        self.assertTrue((ROOT / script).is_file(), script)
        own = DOCUMENTED[script]
        found = mistakes(script, [typed for _, typed, _ in own])
        for (page, typed, inline), wrong in zip(own, found, strict=True):
            if inline and wrong and wrong.startswith("Missing value"):
                continue  # a sentence names a flag, as in `bin/train --kv`
            self.assertIsNone(wrong, f"{page}: {script} {shlex.join(typed)}")

    def test_every_command_is_documented(self):
        scripts = {f"bin/{path.name}" for path in (ROOT / "bin").iterdir()}
        self.assertLessEqual(scripts, set(DOCUMENTED))

    def test_what_is_no_flag_would_be_found(self):
        found = mistakes(
            "bin/train",
            [
                ["--style=spnet"],
                ["--stile=spnet"],
                ["--style=fast"],
                ["--kv=mp3"],
                ["--static_steps=40"],
                ["run"],
            ],
        )
        self.assertIsNone(found[0])
        for wrong, word in zip(
            found[1:],
            ("--style", "spnet", "mp3", "static_steps", "no arguments"),
            strict=True,
        ):
            self.assertIn(word, wrong)

    def test_commands_are_read_from_pages(self):
        self.assertGreater(sum(map(len, DOCUMENTED.values())), 100)
        self.assertIn(
            ("README.md", ["--style=spnet"], False), DOCUMENTED["bin/train"]
        )

    def test_paths_in_commands_exist(self):
        for script, commands in DOCUMENTED.items():
            for page, typed, _ in commands:
                named = re.findall(r"configs/\w+\.py", " ".join(typed))
                for path in named:
                    self.assertTrue(
                        (ROOT / path).is_file(), f"{page}: {script} {path}"
                    )

    @parameterized.parameters(PAGES)
    def test_named_parts_of_the_package_exist(self, page):
        for path, name in re.findall(r"`([\w/]+\.py): (\w+)", text_of(page)):
            source = (ROOT / "tfshrink" / path).read_text(encoding="utf-8")
            self.assertRegex(source, rf"(?m)^(class|def) {name}\b", page)
        if page == "docs/coming_from.md":  # names files of others, too
            return
        folders = ROOT, ROOT / "tfshrink", ROOT / "benchmarks"
        for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text_of(page)):
            found = any((folder / path).is_file() for folder in folders)
            self.assertTrue(found, f"{page}: {path}")

    def test_figures_of_the_limits_stand_on_the_pages_they_name(self):
        page = "docs/limits.md"
        bullets = re.split(r"\n(?=- |#)", text_of(page))
        checked = 0
        for bullet in bullets:
            sources = {
                place
                for place in re.findall(r"\]\(([^)#\s]+)", bullet)
                if place.endswith(".md")
            }
            known = "".join(
                text_of(os.path.normpath(f"docs/{place}")) for place in sources
            )
            for figure in FIGURE.findall(LINK.sub("", bullet)):
                self.assertIn(figure, known, bullet)
                checked += 1
        self.assertGreater(checked, 30)
