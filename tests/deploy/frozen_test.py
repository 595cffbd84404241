import numpy as np
from absl.testing import parameterized
from keras import ops

from tests.deploy import exports
from tests.test_case import TestCase
from tests.test_case import to_numpy
from tfshrink.deploy.frozen import freeze
from tfshrink.structure import plan_tensor


class FrozenTest(TestCase):
    @parameterized.named_parameters(
        ("shared", {}),
        ("codes", {"bank": "codes"}),
        ("latent", {"bank": "latent"}),
        ("inside", {"placement": "inside"}),
        ("channel", {"group": 0}),
        ("plain", {"ranks": ()}),
    )
    def test_weights_are_those_of_the_layers(self, structure):
        model = exports.decoder(**structure)
        for bits in (8, 4, 3, 2, 16):
            plan = exports.plan_for(model, str(bits))
            frozen = iter(freeze(model, plan).weights().items())
            for group, members in model.groups().items():
                for layer in members:
                    name, own = next(frozen)
                    self.assertStartsWith(name, group)
                    if group == "embedding":
                        wanted = to_numpy(
                            layer.head(ops.convert_to_tensor(plan.bits[-1]))
                        )
                    else:
                        wanted = to_numpy(
                            layer.kernel_at(ops.convert_to_tensor(bits))
                        ).T
                    self.assertAllClose(own.values(), wanted, rtol=1e-6)

    @parameterized.parameters("4:pruning=.4", "8:pruning=2of4", "32:pruning=.4")
    def test_pruned_weights_are_zero(self, text):
        for structure in ({}, {"bank": "codes"}, {"placement": "inside"}):
            model = exports.decoder(**structure)
            plan = exports.plan_for(model, text)
            bits = plan_tensor(model.config, plan)
            first = model.blocks[0].attention.query
            frozen = freeze(model, plan).weights()["block_00/attention_in/0"]
            wanted = first.kernel_at(bits[0][0], None, bits[0][2])
            self.assertAllClose(frozen.values(), to_numpy(wanted).T, rtol=1e-6)
            zeros = np.mean(frozen.values() == 0)
            self.assertGreaterEqual(zeros, plan.pruning[0] - 0.01)

    def test_adapters_beside_the_kernel_are_kept(self):
        model = exports.decoder()
        layer = model.blocks[1].mlp.down
        frozen = freeze(model, exports.plan_for(model, "4"))
        own = frozen.blocks[1].groups["mlp_out"][0]
        self.assertEqual(own.down.shape, (4, 128))
        self.assertAllClose(
            own.up @ own.down, to_numpy(layer.adapters.delta(4)).T, atol=1e-6
        )

    def test_a_width_nobody_trained_has_no_adapter(self):
        model = exports.decoder()
        frozen = freeze(model, exports.plan_for(model, "3"))
        for dense in frozen.weights().values():
            self.assertIsNone(dense.down)

    def test_codes_are_integers_of_the_grid(self):
        model = exports.decoder(bank="latent")
        frozen = freeze(model, exports.plan_for(model, "2"))
        codes = frozen.blocks[0].groups["mlp_in"][0].codes
        self.assertEqual(codes.dtype, np.int8)
        self.assertAllEqual(np.unique(codes), [-2, -1, 0, 1])
