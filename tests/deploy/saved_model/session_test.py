import pathlib
import shutil
import tempfile

import numpy as np

from tests.deploy import exports
from tests.test_case import TestCase
from tfshrink.deploy.frozen import freeze
from tfshrink.deploy.saved_model.packed_decoder import PackedDecoder
from tfshrink.deploy.saved_model.session import SavedModelSession
from tfshrink.errors import UserError

TOKENS = [int(token) for token in exports.TOKENS]


class SavedModelSessionTest(TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, folder)
        cls.path = pathlib.Path(folder) / "saved_model"
        cls.model = exports.decoder(activations=0)
        plans = [exports.plan_for(cls.model, text) for text in ("8", "4")]
        PackedDecoder([freeze(cls.model, plan) for plan in plans]).save(
            cls.path
        )
        cls.plan = plans[1]  # not the one that bits which nobody knows mean
        shape = cls.model.config.to_json()
        cls.session = SavedModelSession(
            cls.path, shape, cls.plan, bits=cls.plan.bits
        )
        cls.wanted = exports.logits(cls.model, cls.plan)

    def test_every_token_is_scored_as_in_keras(self):
        found = self.session.score(TOKENS)
        self.assertAllClose(found, self.wanted, atol=2e-3)

    def test_steps_go_on_behind_a_prompt(self):
        session = self.session
        for _ in range(2):  # a sequence that is forgotten leaves nothing
            session.reset()
            found = [session.prefill(TOKENS[:-3])]
            found += [session.step(token) for token in TOKENS[-3:]]
            self.assertAllClose(found, self.wanted[-4:], atol=2e-3)
            self.assertEqual(session.length, len(TOKENS))

    def test_the_cache_grows_with_the_text(self):
        session = self.session
        tokens = np.arange(3, 73)  # more than a first cache holds
        session.reset()
        session.prefill(tokens[:60])
        for token in tokens[60:]:
            found = session.step(int(token))
        wanted = exports.logits(self.model, self.plan, tokens)[-1]
        self.assertAllClose(found, wanted, atol=2e-3)

    def test_a_sequence_beyond_the_context(self):
        session = self.session
        session.reset()
        with self.assertRaisesRegex(UserError, "at most 512.*513"):
            session.prefill([5] * 513)

    def test_a_folder_without_a_model(self):
        with self.assertRaisesRegex(UserError, "SavedModel of bin/export"):
            SavedModelSession(
                self.path.parent,
                self.model.config.to_json(),
                self.plan,
            )
