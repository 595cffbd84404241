from pydoc_data.topics import topics

from tests.test_case import TestCase
from tfshrink.data import pydoc
from tfshrink.errors import UserError


class PydocTest(TestCase):
    def test_every_document_is_a_topic_of_one_split(self):
        splits = {name: pydoc.load_pydoc(name) for name in pydoc.SHARES}
        together = sum(splits.values(), [])
        self.assertLen(set(together), len(together))
        self.assertContainsSubset(together, topics.values())
        self.assertTrue(all(splits.values()))

    def test_splits_share_less_than_a_percent_of_their_passages(self):
        passages = {
            name: set().union(*map(pydoc.shingles, pydoc.load_pydoc(name)))
            for name in pydoc.SHARES
        }
        for name, own in passages.items():
            for other, others in passages.items():
                if name != other:
                    self.assertLess(pydoc.shared(own, others), 0.01)

    def test_test_split_holds_enough_tokens(self):
        # SmolLM2 makes at most one token of 4.4 characters of this text.
        size = sum(map(len, pydoc.load_pydoc("test")))
        self.assertGreater(size / 4.4, 32000)

    def test_nothing_is_lost_but_repeats(self):
        kept = pydoc.split_topics(topics)
        passages = [pydoc.shingles(topics[name]) for name in kept]
        union = set().union(*passages)
        for name in topics.keys() - kept.keys():
            own = pydoc.shingles(topics[name])
            self.assertGreaterEqual(
                pydoc.shared(own, union), pydoc.CONTAINED, name
            )

    def test_split_ignores_the_other_topics(self):
        alone = {"lambda": topics["lambda"], "assert": topics["assert"]}
        whole = pydoc.split_topics(topics)
        for name, split in pydoc.split_topics(alone).items():
            self.assertEqual(split, whole[name])

    def test_contained_topics_are_dropped_and_related_ones_tied(self):
        words = [f"word{i}" for i in range(400)]
        texts = {
            "long": " ".join(words[:300]),
            "part": " ".join(words[50:150]),
            "copy": " ".join(words[50:150]),
            "tied": " ".join(words[280:]),
            "free": "some other words " * 20,
        }
        passages = {k: pydoc.shingles(v) for k, v in texts.items()}
        kept = pydoc.drop_contained(texts, passages)
        self.assertCountEqual(kept, ["long", "tied", "free"])
        self.assertEqual(
            pydoc.group_related(kept, passages),
            {"long": "long", "tied": "long", "free": "free"},
        )

    def test_unknown_split_is_a_users_mistake(self):
        with self.assertRaisesRegex(UserError, "Did you mean `train`"):
            pydoc.load_pydoc("trian")
