import dataclasses

from absl.testing import parameterized

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.search.settings import OBJECTIVES
from tfshrink.search.settings import SearchSettings


class SearchSettingsTest(TestCase):
    @parameterized.parameters(
        ({"method": "gredy"}, "`method` must be one of.*`greedy`"),
        ({"metric": "perplexty"}, "`metric` must be one of.*`perplexity`"),
        ({"pruning_scope": "globl"}, "`pruning_scope`.*`global`"),
        ({"sampler": "nsga3"}, "`sampler` must be one of.*`nsga2`"),
        ({"iterations": 0}, "`iterations` must be at least 1. Received: 0"),
        ({"prompts": 0}, "`prompts` must be at least 1. Received: 0"),
        ({"tokens": -1}, "`tokens` must be at least 1. Received: -1"),
        ({"f1_questions": 0}, "`f1_questions` must be at least 1"),
        ({"objectives": "bytes,margn"}, "`objectives`.*`margin`"),
        ({"objectives": ","}, "`objectives` must name at least one of bytes"),
        ({"objectives": "memory"}, "`kv` names no codec. Received: memory"),
        ({"kv": "pca"}, r"`kv` pca must have a rate \(4x\) or bits=3"),
        ({"kv": "int4", "metric": "f1"}, "`metric` must not be f1.*int4"),
        ({"objectives": "read_bytes"}, "`exit` names no policy.*read_bytes"),
        ({"exit": "marg:.5"}, "`exit` must be.*Did you mean `margin`"),
        ({"exit": "margin:.5", "metric": "f1"}, "must not be f1.*all blocks"),
        ({"exit": "none", "objectives": "latency"}, "must not name latency"),
        ({"kv_length": 0}, "`kv_length` must be at least 1. Received: 0"),
        ({"pruning": ".5,1"}, r"`pruning` must hold levels in \(0, 1\).*1.0"),
        ({"pruning": "0"}, r"`pruning` must hold levels in \(0, 1\).*0.0"),
        ({"pruning": "half"}, "`pruning` must be levels such as.*'half'"),
        ({"bits": "8,9"}, "`bits` must be between 2 and 8.*bits=9"),
        ({"bits": "8;4"}, "`bits` must be bit-widths such as 8,4.*'8;4'"),
        ({"embedding_bits": "1"}, "`embedding_bits` must be.*bits=1"),
    )
    def test_mistake_is_named(self, fields, message):
        with self.assertRaisesRegex(UserError, message) as caught:
            SearchSettings(**fields)
        self.assertLen(str(caught.exception).splitlines(), 1)

    def test_widths_are_distinct_and_most_first(self):
        own = SearchSettings(bits="4, 8,4,3", embedding_bits="")
        self.assertEqual(own.widths("bits", (6, 5)), (8, 4, 3))
        self.assertEqual(own.widths("embedding_bits", (4, 8)), (8, 4))
        self.assertEqual(own.widths("embedding_bits"), ())

    def test_levels_come_lowest_first(self):
        own = SearchSettings(pruning=".5,.25")
        self.assertEqual(own.pruning_levels, [0.25, 0.5])
        self.assertEqual(SearchSettings().pruning_levels, [])

    def test_every_objective_can_be_named(self):
        for exit, without in (("", "read_bytes"), ("none", "latency")):
            names = [name for name in OBJECTIVES if name != without]
            own = SearchSettings(
                objectives=",".join(names), kv="int4", exit=exit
            )
            self.assertEqual(own.objective_names, names)

    def test_size_is_that_of_what_is_searched(self):
        names = SearchSettings().objective_names
        self.assertEqual(names, ["bytes", "margin"])
        names = SearchSettings(kv="int4").objective_names
        self.assertEqual(names, ["memory", "margin"])

        names = SearchSettings(kv="int4", exit="toex").objective_names
        self.assertEqual(names, ["read_bytes", "margin"])

    def test_policies_are_as_they_are_written_and_each_once(self):
        own = SearchSettings(exit="none; margin:.8:layers=2,3;toex;margin:.5;")
        names = [str(spec) for spec in own.exit_specs]
        self.assertEqual(names, ["None", "margin:0.8:layers=2,3", "margin:0.5"])
        self.assertEqual(SearchSettings().exit_specs, [])

    def test_codecs_are_as_they_are_written_and_each_once(self):
        own = SearchSettings(kv="identity, int4,pca:4x:layers=even,int4")
        names = [str(spec) for spec in own.kv_specs]
        self.assertEqual(names, ["identity", "int4", "pca:4x:layers=even"])
        self.assertEqual(SearchSettings().kv_specs, [])

    def test_json_makes_the_same_settings(self):
        own = SearchSettings(method="greedy", bits="8,4", budget=0.5)
        self.assertEqual(SearchSettings(**own.to_json()), own)

    def test_nothing_changes_in_place(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            SearchSettings().iterations = 5
