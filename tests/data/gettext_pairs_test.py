import itertools
import os
from unittest import mock

from absl.testing import parameterized

from tests.data import mo_files
from tests.test_case import TestCase
from tfshrink.data import gettext_pairs
from tfshrink.data.gettext_pairs import load_gettext
from tfshrink.data.gettext_pairs import message_key
from tfshrink.data.partition import split_of
from tfshrink.errors import UserError


def numbered(count, word="item"):
    """Pairs whose words differ: digits alone would be one key."""
    letters = itertools.product("abcdefghij", repeat=4)
    names = ("".join(name) for name in itertools.islice(letters, count))
    return [(f"{word} {name}", f"element {name} {word}") for name in names]


def name_of(split):
    """A catalogue's name that its hash puts into `split`, or out of it."""
    names = (f"share/program{number}" for number in range(1000))
    salt, shares = gettext_pairs.SALT, gettext_pairs.SHARES
    return next(n for n in names if split_of(salt + n, shares) == split)


class GettextPairsTest(TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.create_tempdir().full_path
        gettext_pairs._installed.cache_clear()
        self.addCleanup(gettext_pairs._installed.cache_clear)

    def installed(self, *paths):
        return mock.patch.object(
            gettext_pairs, "catalogue_paths", return_value=list(paths)
        )

    @parameterized.parameters(
        ("Can't open `%s'!", "can t open %"),
        ("can’t open “{name}”", "can t open %"),
        ("%5.2f of %(total)s (12)", "% of % 0"),
        ("Line %1$s at ${x} $HOME", "line % at % %"),
        ("Fișier 2", "fișier 0"),
        ("%d%%", "%"),
    )
    def test_key_matches_table_by_hand(self, message, key):
        self.assertEqual(message_key(message), key)

    def test_splits_share_no_key_and_lose_nothing(self):
        pairs = numbered(3000)
        splits = gettext_pairs.split_pairs([("share/large", pairs)])
        self.assertCountEqual(sum(splits.values(), []), pairs)
        for split, share in gettext_pairs.SHARES.items():
            self.assertAllClose(
                len(splits[split]) / len(pairs), share, atol=0.02
            )
        near = [(f"{s.title()}: %s!", f"{t} %s") for s, t in pairs]
        both = [("share/large", pairs), ("share/near", near)]
        splits = gettext_pairs.split_pairs(both)
        keys = {
            split: {message_key(source) for source, _ in own}
            for split, own in splits.items()
        }
        for one, other in itertools.combinations(keys.values(), 2):
            self.assertEmpty(one & other)

    def test_small_catalogues_are_held_out_whole(self):
        held, common = name_of("test"), numbered(40)
        other = (name_of("train"), numbered(500, "row") + common)
        splits = gettext_pairs.split_pairs([(held, common), other])
        self.assertContainsSubset(common, splits["test"])
        large = numbered(gettext_pairs.SMALL + 1)
        splits = gettext_pairs.split_pairs([(held, large)])
        self.assertGreater(len(splits["train"]), 0.7 * len(large))

    def test_first_of_equal_sources_stays(self):
        catalogues = [("a/a", [("File", "Fișier")]), ("b/b", [("File", "X")])]
        splits = gettext_pairs.split_pairs(catalogues)
        self.assertEqual(sum(splits.values(), []), [("File", "Fișier")])

    def test_translations_that_are_tested_on_are_not_trained_on(self):
        held, pairs = name_of("test"), numbered(200)
        twins = [(f"the {s} again", t) for s, t in pairs]
        own = (name_of("train"), twins)
        splits = gettext_pairs.split_pairs([(held, pairs), own])
        self.assertEmpty(splits["train"] + splits["search"])
        self.assertContainsSubset(pairs, splits["test"])

    def test_files_are_read_and_damaged_ones_passed_over(self):
        good = mo_files.write(self.folder, "good", dict(numbered(300)))
        bad = os.path.join(self.folder, "bad.mo")
        with open(bad, "wb") as file:
            file.write(b"\xde\x12\x04\x95")
        with self.installed(bad, good):
            for split in gettext_pairs.SHARES:
                named = load_gettext(split, [good])
                self.assertEqual(load_gettext(split), named)
        found = [load_gettext(one, [good]) for one in gettext_pairs.SHARES]
        self.assertCountEqual(sum(found, []), numbered(300))
        with self.assertRaisesRegex(UserError, "bad.mo must be a message"):
            load_gettext("train", [good, bad])

    def test_no_catalogue_names_the_packages_that_carry_them(self):
        with self.installed():
            with self.assertRaisesRegex(UserError, "libreoffice.*django"):
                load_gettext("train")

    def test_unknown_split_is_a_users_mistake(self):
        with self.assertRaisesRegex(UserError, "Did you mean `train`"):
            load_gettext("trian")
