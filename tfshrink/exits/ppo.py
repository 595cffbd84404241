"""An exit policy that learns from its reward: agreement minus cost.

Reference: Schulman et al., Proximal Policy Optimization, 1707.06347; its
advantages, Schulman et al., 1506.02438.
"""

import dataclasses

import numpy as np

from tfshrink.exit_policy import ExitPolicy
from tfshrink.exits.perceptron import Perceptron
from tfshrink.exits.ppo_config import PPOConfig
from tfshrink.exits.ppo_loss import advantages
from tfshrink.exits.ppo_loss import policy_slope
from tfshrink.exits.ppo_loss import sigmoid
from tfshrink.ops.exit_policy import log_odds
from tfshrink.ops.exit_policy import policy_features


def rewards_of(trace, read, cost_weight):
    """What a token earns that leaves at exit 0, 1, ... or at none.

    Args:
        trace: `ExitTrace`.
        read: `(E + 1,)`, share of the model's weights that it reads there.
        cost_weight: As in `PPOConfig`.

    Returns:
        float64 `(tokens made, E + 1)`: 1 where its token is the full model's,
        minus the cost.
    """
    right = trace.right[:, trace.made].T
    every = np.concatenate([right, np.ones_like(right[:, :1])], axis=1)
    return every - cost_weight * np.asarray(read)[None]


def train_policy(trace, cost, config=None):
    """Trains a policy on the tokens of a trace, each an episode.

    At one exit after the other it leaves or stays; what it earns comes when
    it leaves, or behind the last block. Which token would have waited too
    long (`pending`) is left out, as in `sweep.tuned`.

    Args:
        trace: `ExitTrace`, with at least one token made.
        cost: `ExitCost` of the model.
        config: `PPOConfig`.

    Returns:
        `ExitPolicy`; its `made` holds the config and `rewards`, the mean
        reward of a token in each iteration, of actions that were drawn.
    """
    config = config or PPOConfig()
    policy = _empty(trace, config)
    rng = np.random.default_rng(config.seed)
    read = cost.read_at(policy.reads_logits) / cost.full
    earned = rewards_of(trace, read, config.cost_weight)
    x = _features(policy, trace)  # (tokens, E, F)
    actor = Perceptron(x.shape[-1], config.hidden, rng)
    critic = Perceptron(x.shape[-1], config.hidden, rng)
    history = []
    for iteration in range(config.iterations):
        left = 1.0 - iteration / config.iterations
        episodes = _walk(x, earned, actor, critic, config, rng)
        history.append(float(episodes.pop("reward").mean()))
        _improve(episodes, actor, critic, config, left, rng)
    made = {**dataclasses.asdict(config), "rewards": history}
    return dataclasses.replace(policy, weights=actor.weights, made=made)


def _empty(trace, config):
    """A policy that knows the scale of what it reads, and nothing else."""
    width = len(config.reads) + len(trace.layers) + 1
    values = [
        np.asarray(log_odds(trace.confidence[name][:, trace.made]))
        for name in config.reads
    ]
    hidden = config.hidden
    return ExitPolicy(
        layers=trace.layers,
        reads=config.reads,
        center=[float(own.mean()) for own in values],
        spread=[float(own.std()) + 1e-3 for own in values],
        weights=[
            np.zeros(shape)
            for shape in ((width, hidden), (hidden,), (hidden, 1), (1,))
        ],
    )


def _features(policy, trace):
    """What the policy sees of the tokens made, `(tokens, E, F)`."""
    share = trace.shares()[trace.made]
    return np.stack(
        [
            np.asarray(
                policy_features(
                    policy,
                    {
                        name: trace.confidence[name][place][trace.made]
                        for name in policy.reads
                    },
                    place,
                    share,
                )
            )
            for place in range(len(trace.layers))
        ],
        axis=1,
    )


def _walk(x, earned, actor, critic, config, rng):
    """Lets tokens leave as the actor draws it; what there is to learn."""
    count, exits, _ = x.shape
    chance = sigmoid(actor(x))
    leaves = rng.random((count, exits)) < chance
    chosen = np.where(leaves.any(1), leaves.argmax(1), exits)
    visited = np.arange(exits)[None] <= chosen[:, None]
    reward = earned[np.arange(count), chosen]
    values = critic(x)
    gains = advantages(reward, values, visited, config.discount, config.gae)
    return {
        "x": x,
        "leaves": leaves,
        "chance": np.where(leaves, chance, 1.0 - chance),
        "gains": gains,
        "goal": gains + values,
        "visited": visited,
        "reward": reward,
    }


def _improve(episodes, actor, critic, config, left, rng):
    """Some epochs over what was walked, `left` of the training to go."""
    count = len(episodes["x"])
    size = min(config.batch, count)
    rate = config.learning_rate * left
    for _ in range(config.epochs):
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            rows = order[start : start + size]
            seen = episodes["visited"][rows]
            own = {
                name: values[rows][seen] for name, values in episodes.items()
            }
            slope = policy_slope(
                actor(own["x"]),
                own["leaves"],
                own["chance"],
                own["gains"],
                clip=config.clip,
                entropy=config.entropy * left,
            )
            actor.descend(actor.gradients(own["x"], slope), rate)
            error = critic(own["x"]) - own["goal"]
            slope = 2.0 * error / len(error)
            critic.descend(critic.gradients(own["x"], slope), rate)
