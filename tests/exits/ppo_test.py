import dataclasses

import numpy as np
from absl.testing import parameterized

from tests.exits import traces
from tests.test_case import TestCase
from tfshrink import exit_policy
from tfshrink.errors import UserError
from tfshrink.exit_policy import ExitPolicy
from tfshrink.exit_spec import ExitSpec
from tfshrink.exits.choice import chosen_exits
from tfshrink.exits.choice import summary
from tfshrink.exits.choice import sure_of
from tfshrink.exits.perceptron import Perceptron
from tfshrink.exits.ppo import rewards_of
from tfshrink.exits.ppo import train_policy
from tfshrink.exits.ppo_config import PPOConfig
from tfshrink.exits.ppo_loss import advantages
from tfshrink.exits.ppo_loss import policy_loss
from tfshrink.exits.ppo_loss import policy_slope
from tfshrink.exits.ppo_loss import sigmoid
from tfshrink.models.generation import Generator
from tfshrink.ops import confidence

COST = traces.COST


def telling(seed=0):
    """A trace whose classifier knows exactly where its exit is right."""
    trace = traces.made_up(rows=100, seed=seed)
    rng = np.random.default_rng(seed)
    knows = np.where(trace.right, 0.9, 0.2)
    knows = knows + rng.uniform(-0.05, 0.05, knows.shape)
    values = {**trace.confidence, "classifier": knows.astype("float32")}
    return dataclasses.replace(trace, confidence=values)


def spec_of(policy, folder):
    path = f"{folder}/policy.json"
    policy.write(path)
    return ExitSpec.parse(f"policy:.5:missing=propagate:weights={path}")


class PPOTest(TestCase):
    @parameterized.parameters(0.1, 0.4, 0.8)
    def test_reaches_the_best_reward_where_a_feature_tells(self, weight):
        config = PPOConfig(reads=("classifier",), cost_weight=weight)
        policy = train_policy(telling(), COST, config)
        other = telling(seed=1)  # tokens it has not learned from
        spec = spec_of(policy, self.create_tempdir().full_path)
        earned = rewards_of(other, COST.read(spec) / COST.full, weight)
        chosen = chosen_exits(other, spec)[other.made]
        own = earned[np.arange(len(earned)), chosen].mean()
        self.assertGreater(own, 0.98 * earned.max(axis=1).mean())

    def test_where_reading_is_free_it_stays(self):
        policy = train_policy(
            traces.made_up(rows=100), COST, PPOConfig(cost_weight=0.0)
        )
        spec = spec_of(policy, self.create_tempdir().full_path)
        found = summary(traces.made_up(rows=100, seed=1), spec, COST)
        self.assertGreater(found["agreement"], 0.98)

    def test_where_reading_is_all_it_leaves_at_once(self):
        policy = train_policy(
            traces.made_up(rows=100), COST, PPOConfig(cost_weight=5.0)
        )
        spec = spec_of(policy, self.create_tempdir().full_path)
        found = summary(traces.made_up(rows=100, seed=1), spec, COST)
        self.assertGreater(found["by_layer"]["3"], 0.98)

    def test_rewards_rise_and_the_same_seed_trains_the_same(self):
        trace, config = traces.made_up(), PPOConfig(iterations=20)
        one, two = (train_policy(trace, COST, config) for _ in range(2))
        for a, b in zip(one.weights, two.weights, strict=True):
            self.assertAllEqual(a, b)
        self.assertGreater(one.made["rewards"][-1], one.made["rewards"][0])

    def test_rewards_of_a_table(self):
        trace = traces.made_up(rows=1, length=2)
        token = np.array([[0, 1], [1, 0], [0, 0]])[:, None]
        trace = dataclasses.replace(trace, token=token)
        found = rewards_of(trace, [0.1, 0.2, 0.3, 1.0], 0.5)
        expected = [[0.95, -0.1, 0.85, 0.5], [-0.05, 0.9, 0.85, 0.5]]
        self.assertAllClose(found, expected)

    @parameterized.parameters(
        ({"reads": ("clasifier",)}, "`reads` must be some of"),
        ({"gae": 1.5}, "`gae` must lie in"),
        ({"cost_weight": -1.0}, "`cost_weight` must be at least 0"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
    )
    def test_wrong_settings_are_named(self, values, message):
        with self.assertRaisesRegex(UserError, message):
            PPOConfig(**values)


class LossTest(TestCase):
    def test_advantages_match_the_sum_of_discounted_errors(self):
        rng = np.random.default_rng(0)
        values, reward = rng.normal(size=(20, 4)), rng.normal(size=20)
        last = rng.integers(0, 4, 20)
        visited = np.arange(4) <= last[:, None]
        found = advantages(reward, values, visited, 0.9, 0.7)
        for row in range(20):
            until = last[row]
            for place in range(4):
                total = 0.0
                for k in range(place, until + 1):
                    then = reward[row]
                    if k < until:
                        then = 0.9 * values[row, k + 1]
                    error = then - values[row, k]
                    total += (0.9 * 0.7) ** (k - place) * error
                self.assertAllClose(found[row, place], total, atol=1e-12)

    def test_slope_matches_finite_differences(self):
        rng = np.random.default_rng(0)
        logits, before = rng.normal(size=50), rng.normal(size=50)
        leaves = rng.random(50) < 0.5
        chance = np.where(leaves, sigmoid(before), 1 - sigmoid(before))
        rest = leaves, chance, rng.normal(size=50)
        options = {"clip": 0.2, "entropy": 0.1}
        slope = policy_slope(logits, *rest, **options)
        for index in range(50):
            step = 1e-6 * (np.arange(50) == index)
            high = policy_loss(logits + step, *rest, **options)
            low = policy_loss(logits - step, *rest, **options)
            own = (high - low) / 2e-6
            self.assertAllClose(slope[index], own, rtol=1e-5, atol=1e-8)

    def test_gradients_of_the_perceptron_match_finite_differences(self):
        rng = np.random.default_rng(0)
        net = Perceptron(3, 4, rng)
        for weight in net.weights:
            weight += rng.normal(0, 0.5, weight.shape)
        x, slope = rng.normal(size=(7, 3)), rng.normal(size=7)
        for weight, found in zip(
            net.weights, net.gradients(x, slope), strict=True
        ):
            for place in np.ndindex(*weight.shape):
                before = weight[place]
                weight[place] = before + 1e-6
                high = net(x) @ slope
                weight[place] = before - 1e-6
                low = net(x) @ slope
                weight[place] = before
                own = (high - low) / 2e-6
                self.assertAllClose(found[place], own, rtol=1e-5, atol=1e-8)

    def test_adam_matches_keras(self):
        import keras

        rng = np.random.default_rng(0)
        net = Perceptron(2, 3, rng)
        variables = [keras.Variable(own) for own in net.weights]
        adam = keras.optimizers.Adam(0.01, epsilon=1e-8)
        adam.build(variables)
        for _ in range(3):
            slopes = [rng.normal(size=own.shape) for own in net.weights]
            net.descend(slopes, 0.01)
            values = [keras.ops.convert_to_tensor(s, "float32") for s in slopes]
            adam.apply(values, variables)
        for own, variable in zip(net.weights, variables, strict=True):
            self.assertAllClose(own, np.asarray(variable), atol=1e-5)


class PolicyTest(TestCase):
    def of_tiny(self, folder, reads):
        """A policy of a tiny model's exit that lets about half leave."""
        _, trace, _ = traces.of_tiny()
        rng = np.random.default_rng(3)
        width = len(reads) + 2
        policy = ExitPolicy(
            layers=trace.layers,
            reads=reads,
            center=[
                float(np.log(p / (1 - p)))
                for p in (
                    np.median(trace.confidence[name][0][trace.made].clip(1e-3))
                    for name in reads
                )
            ],
            spread=[0.1] * len(reads),
            weights=[
                rng.normal(size=(width, 5)),
                np.zeros(5),
                rng.normal(size=(5, 1)),
                np.zeros(1),
            ],
        )
        return spec_of(policy, folder)

    @parameterized.parameters(
        (("classifier", "cosine"),), (confidence.CONFIDENCES,)
    )
    def test_generation_does_what_the_trace_says(self, reads):
        spec = self.of_tiny(self.create_tempdir().full_path, reads)
        made, trace, rows = traces.of_tiny()
        chosen = chosen_exits(trace, spec, traces.NEW)
        self.assertBetween(chosen[trace.made].mean(), 0.05, 0.95)
        generator, compared = Generator(made, exits=spec), 0
        for index, prompt in enumerate(traces.PROMPTS):
            [row] = generator.generate(
                [prompt], max_new_tokens=traces.NEW, temperature=0.0
            )
            full = rows[index][len(prompt) :]
            own = chosen[index][trace.made[index]]
            depths = np.array([*trace.layers, trace.depth])[own].tolist()
            same = [a == b for a, b in zip(row, full, strict=False)]
            until = same.index(False) + 1 if False in same else len(same)
            self.assertEqual(generator.depths[0][:until], depths[:until])
            compared += until
        self.assertGreater(compared, 8)

    def test_what_is_judged_is_what_was_trained(self):
        trace = traces.made_up()
        config = PPOConfig(iterations=3)
        policy = train_policy(trace, COST, config)
        spec = spec_of(policy, self.create_tempdir().full_path)
        found = sure_of(trace, spec)[:, 3, 5]
        kernel, bias, last, last_bias = policy.weights
        for place in range(3):
            columns = []
            for index, name in enumerate(policy.reads):
                p = float(trace.confidence[name][place, 3, 5])
                odds = np.log(p / (1 - p)) - policy.center[index]
                columns.append(odds / policy.spread[index])
            columns += [float(place == i) for i in range(3)] + [5 / 16]
            hidden = np.tanh(columns @ kernel + bias)
            own = sigmoid(hidden @ last + last_bias)[0]
            self.assertAllClose(found[place], own, atol=1e-5)

    def test_candidates_are_paid_for_where_they_are_read(self):
        folder = self.create_tempdir().full_path
        for reads, as_if in ((("cosine",), "classifier"), (("max",), "margin")):
            config = PPOConfig(reads=reads, iterations=1)
            policy = train_policy(traces.made_up(), COST, config)
            expected = ExitSpec.parse(f"{as_if}:.5")
            spec = spec_of(policy, folder)
            self.assertAllEqual(COST.read(spec), COST.read(expected))
            self.assertAllEqual(COST.tests(spec), COST.tests(expected))

    def test_a_file_gives_the_same_policy(self):
        policy = train_policy(traces.made_up(), COST, PPOConfig(iterations=1))
        path = self.create_tempdir().full_path + "/policy.json"
        policy.write(path)
        again = ExitPolicy.read(path)
        self.assertEqual(again.reads, policy.reads)
        self.assertEqual(again.layers, policy.layers)
        for a, b in zip(again.weights, policy.weights, strict=True):
            self.assertAllEqual(a, b)

    def test_other_exits_and_files_are_refused(self):
        folder = self.create_tempdir().full_path
        policy = train_policy(traces.made_up(), COST, PPOConfig(iterations=1))
        spec = spec_of(policy, folder)
        few = dataclasses.replace(spec, layers=(3, 6))
        with self.assertRaisesRegex(UserError, "blocks 3,6,9. Received: 3,6"):
            chosen_exits(traces.made_up(), few)
        made, _, _ = traces.of_tiny()
        with self.assertRaisesRegex(UserError, "blocks 3,6,9. Received: 1"):
            Generator(made, exits=spec)
        with open(f"{folder}/policy.json", "w", encoding="utf-8") as file:
            file.write('{"layers": [3]}')
        with self.assertRaisesRegex(UserError, "bin/diagnose exits --ppo"):
            chosen_exits(traces.made_up(), spec)
        with self.assertRaisesRegex(UserError, "fit each other"):
            dataclasses.replace(policy, layers=(3,))

    def test_what_costs_no_logits_is_said_once(self):
        self.assertEqual(exit_policy.OF_STATES, confidence.OF_STATES)
