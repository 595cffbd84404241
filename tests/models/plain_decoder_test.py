import dataclasses

from absl.testing import parameterized

from tests.models import translators
from tests.test_case import TestCase
from tfshrink.errors import UserError
from tfshrink.kv_spec import KVSpec
from tfshrink.models.kv_codecs import check_spec
from tfshrink.models.plain_decoder import check_plain_decoder
from tfshrink.models.sources import open_source
from tfshrink.training.initialisation import initialise

OTHER = {
    "encoder_layers": 2,
    "norm_first": False,
    "positions": "sinusoidal",
    "embedding_scale": 8.0,
}


class PlainDecoderTest(TestCase):
    @parameterized.parameters("tiny", "tiny-gpt2", "ultra", "smollm2-135m")
    def test_both_families_pass(self, name):
        check_plain_decoder(open_source(name).config, "model")

    @parameterized.parameters(*OTHER)
    def test_each_difference_is_named(self, name):
        config = open_source("tiny").config
        config = dataclasses.replace(config, **{name: OTHER[name]})
        with self.assertRaisesRegex(
            UserError, f"`plan` must be of a decoder.*tiny with {name}="
        ):
            check_plain_decoder(config, "plan")

    def test_codecs_and_initialisations_ask(self):
        model = translators.model(False)
        with self.assertRaisesRegex(UserError, "`kv` must be of a decoder"):
            check_spec(KVSpec.parse("int8"), model.config, 32)
        with self.assertRaisesRegex(UserError, "`model` must be of a decoder"):
            initialise(model, None, method="gptq")
