import dataclasses
from unittest import mock

import numpy as np
from absl.testing import parameterized

from tests.search import subjects
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.evaluation.kv_cost import kv_cost
from tfshrink.kv_spec import KVSpec
from tfshrink.models.kv_codecs import open_codecs
from tfshrink.search import plan_codecs
from tfshrink.search.plan_codecs import PlanCodecs

SMALL = ":block=8:window=16"
LENGTHS = np.array([40, 24, 30])


def kv(text):
    return KVSpec.parse(text).to_json()


def candidate(plans="8"):
    return subjects.subject().candidate(plans)


class PlanCodecsTest(TestCase):
    def test_a_cache_is_priced_at_its_length(self):
        own = candidate()
        plan = dataclasses.replace(own.plans[0], kv=kv("int4" + SMALL))
        codecs = PlanCodecs(own, LENGTHS, 256)
        found = codecs.cost(plan)
        wanted = kv_cost(own.source.config, plan, 256, codecs(plan.kv))
        self.assertEqual(found, {**found, **wanted})
        self.assertEqual(found["kv_length"], 256)
        # Token 24 is the first that sees one coded.
        self.assertAllClose(found["kv_seen"], (16 + 0 + 6) / 94)
        self.assertEqual(codecs.cost(own.plans[0]), {})

    def test_a_shorter_context_is_the_length(self):
        self.assertEqual(PlanCodecs(candidate(), LENGTHS).length, 512)

    def test_each_codec_is_opened_once(self):
        codecs = PlanCodecs(candidate(), LENGTHS, 256)
        with mock.patch.object(
            plan_codecs, "open_codecs", wraps=open_codecs
        ) as opened:
            found = [codecs(kv(text + SMALL)) for text in ("int4", "int2") * 2]
            self.assertEqual(opened.call_count, 2)
        self.assertIs(found[0], found[2])
        self.assertIsNot(found[0], found[1])
        self.assertIsNone(codecs(None))
        self.assertIsNone(codecs(kv("identity")))

    @parameterized.parameters(
        ("int4:block=8:window=32", "`tokens` must be at least 41.*most 40"),
        ("int4", "`tokens` must be at least 129"),
        ("int4:layers=7", "`kv` layers must be below 2"),
        ("dct:99x" + SMALL, "`kv` rate of dct must be at most"),
    )
    def test_mistake_is_named(self, text, message):
        codecs = PlanCodecs(candidate(), LENGTHS, 256)
        for ask in (codecs, codecs.check):
            with self.assertRaisesRegex(UserError, message):
                ask(kv(text))
        codecs.check(kv("int4" + SMALL))
        codecs.check(None)

    def test_bases_are_of_heads_in_their_order(self):
        own = PlanCodecs(candidate("8:heads=.5"), LENGTHS, 256)
        with self.assertRaisesRegex(UserError, "must not be pca where heads"):
            own.check(kv("pca:bits=4" + SMALL))
        own.check(kv("int4" + SMALL))
