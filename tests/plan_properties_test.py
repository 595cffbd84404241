"""What holds of every plan, policy and codec, not of examples alone."""

import json
import string

import hypothesis.strategies as st
from hypothesis import given

from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.exit_spec import CONFIDENCES
from tfshrink.exit_spec import ExitSpec
from tfshrink.exit_spec import MISSING
from tfshrink.kv_spec import KVSpec
from tfshrink.kv_spec import LAYERS
from tfshrink.kv_spec import RATED
from tfshrink.plan import parse_plans
from tfshrink.plan import Plan
from tfshrink.plan_checks import BITS
from tfshrink.plan_checks import GROUP_SIZES

WIDTHS = st.sampled_from(BITS)
LEVELS = st.sampled_from((0.0, 0.1, 0.25, 0.5, 0.75, 0.999))


@st.composite
def codecs(draw):
    codec = draw(st.sampled_from((*RATED, "identity", "int8", "int4")))
    own = {}
    if codec in RATED:
        kind = draw(st.sampled_from(("rate", "bits")))
        own[kind] = draw(st.integers(1, 64)) / 8
    if codec == "channel":
        own["select"] = draw(st.sampled_from((None, "topk", "lowpass")))
    return KVSpec(
        codec=codec,
        block=draw(st.integers(8, 512)),
        window=draw(st.integers(0, 512)),
        sinks=draw(st.integers(0, 9)),
        exact=draw(st.sampled_from((None, 8, 16))),
        rotated=draw(st.booleans()),
        layers=draw(st.sampled_from((*LAYERS, "0"))),
        **own,
    )


@st.composite
def policies(draw):
    layers = tuple(sorted(draw(st.sets(st.integers(1, 40), max_size=5))))
    count = draw(st.sampled_from((1, max(1, len(layers)))))
    shares = st.integers(0, 64).map(lambda n: n / 64)
    return ExitSpec(
        confidence=draw(st.sampled_from(CONFIDENCES)),
        thresholds=tuple(draw(shares) for _ in range(count)),
        layers=layers,
        missing=draw(st.sampled_from(sorted(MISSING))),
        margin=draw(shares),
        pending=draw(st.integers(1, 99)),
    )


@st.composite
def plans(draw):
    layers = draw(st.integers(1, 12))
    tied = draw(st.booleans())
    outside = 1 if tied else 2
    bits = [draw(WIDTHS) for _ in range(4 * layers + outside)]
    pruning = [0.0 if b == 2 else draw(LEVELS) for b in bits[:-outside]]
    codec, policy = draw(st.none() | codecs()), draw(st.none() | policies())
    return Plan(
        bits=tuple(bits),
        layers=layers,
        tied=tied,
        group=draw(st.sampled_from(GROUP_SIZES)),
        pruning=(*pruning, *[0.0] * outside) if draw(st.booleans()) else (),
        heads=draw(st.just(()) | st.tuples(*[LEVELS] * layers)),
        channels=draw(st.just(()) | LEVELS),
        activations=draw(st.sampled_from((0, 8))),
        kv=codec and codec.to_json(),
        exit=policy and policy.to_json(),
        name=draw(st.text(string.ascii_letters, max_size=9)),
    )


# Text that looks like a plan, a codec or a policy, and any other.
PIECES = (
    *(str(bits) for bits in BITS),
    *("8:heads=.5", "stripe-8-4", "stripe-", "4:", ":pruning=2of4"),
    *("embedding=", "pca:4x", "int4", ":block=", ":layers=0,1", "margin"),
    *(":.8", "ultra", ":pending=", "=", ",", ";", ":", "-", "e9", "inf"),
    *("nan", "x.json", "9" * 5000, "\0", "\n", "٣", "²", "\ud800"),
)
ANY_TEXT = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda own: st.lists(own) | st.dictionaries(st.text(), own),
    max_leaves=5,
)


class PlanPropertiesTest(TestCase):
    @given(plans())
    def test_json_gives_the_plan_back(self, plan):
        values = json.loads(json.dumps(plan.to_json()))
        again = Plan.from_json(values)
        self.assertEqual(again, plan)
        self.assertEqual(again.hash, plan.hash)

    @given(st.integers(1, 9), st.booleans(), st.data())
    def test_a_list_of_bits_gives_them_back(self, layers, tied, data):
        count = 4 * layers + (1 if tied else 2)
        bits = [data.draw(WIDTHS) for _ in range(count)]
        text = ",".join(map(str, bits))
        plan = Plan.parse(text, layers=layers, tied=tied)
        self.assertEqual(plan.bits, tuple(bits))

    @given(
        WIDTHS.filter(lambda bits: bits != 2), WIDTHS, LEVELS, LEVELS, LEVELS
    )
    def test_short_options_are_what_they_say(self, bits, outer, a, b, c):
        text = f"{bits}:heads={a}:channels={b}:pruning={c}:embedding={outer}"
        plan = Plan.parse(text, layers=3)
        wanted = Plan(
            bits=(bits,) * 12 + (outer,),
            layers=3,
            heads=a,
            channels=b,
            pruning=(c,) * 12 + (0.0,),
            name=text,
        )
        self.assertEqual(plan, wanted)
        self.assertEqual(Plan.parse(plan.name, layers=3), plan)

    @given(WIDTHS, WIDTHS, st.integers(1, 9))
    def test_stripes_do_not_mind_their_order(self, one, other, layers):
        first, second = (
            Plan.parse(f"stripe-{a}-{b}", layers=layers).bits
            for a, b in ((one, other), (other, one))
        )
        self.assertEqual(first, second)
        self.assertEqual(first[0], min(one, other))

    @given(plans())
    def test_rows_of_layers_give_the_blocks_back(self, plan):
        rows = plan.layer_precision()
        again = Plan.from_layer_precision(rows, tied=plan.tied)
        blocks = 4 * plan.layers
        self.assertEqual(again.bits[:blocks], plan.bits[:blocks])

    @given(codecs())
    def test_codecs_survive_text_and_json(self, spec):
        self.assertEqual(KVSpec.parse(str(spec)), _rounded(spec))
        values = json.loads(json.dumps(spec.to_json()))
        self.assertEqual(KVSpec.from_json(values), spec)

    @given(policies())
    def test_policies_survive_text_and_json(self, spec):
        self.assertEqual(ExitSpec.parse(str(spec)), spec)
        values = json.loads(json.dumps(spec.to_json()))
        self.assertEqual(ExitSpec.from_json(values), spec)

    @given(ANY_TEXT)
    def test_any_text_is_read_or_refused(self, text):
        for read in (
            lambda text: Plan.parse(text, layers=2),
            lambda text: parse_plans(text, layers=2, tied=False),
            KVSpec.parse,
            ExitSpec.parse,
        ):
            try:
                read(text)
            except UserError as error:
                self.assertNotEmpty(str(error))

    @given(plans(), st.data(), ANY_JSON)
    def test_any_value_is_read_or_refused(self, plan, data, value):
        values = plan.to_json()
        key = data.draw(st.sampled_from(sorted(values)))
        values[key] = value
        try:
            again = Plan.from_json(values)
        except UserError as error:
            self.assertNotEmpty(str(error))
        else:
            self.assertEqual(Plan.from_json(again.to_json()), again)


def _rounded(spec):
    """As text names it, with three digits of the rate."""
    values = spec.to_json()
    if spec.rate is not None:
        values["rate"] = float(f"{spec.rate:.3g}")
    if spec.bits is not None:
        values["bits"] = float(f"{spec.bits:g}")
    return KVSpec(**values)
