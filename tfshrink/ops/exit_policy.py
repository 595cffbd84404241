"""What a learned exit policy sees and says, as pure functions of tensors."""

from keras import ops

TINY = 1e-4  # confidences nearer to 0 or 1 look alike


def policy_features(policy, confidences, place, share):
    """What a policy sees of tokens at one exit.

    Args:
        policy: `ExitPolicy`, or anything with its `layers`, `reads`, `center`
            and `spread`.
        confidences: Name to `(...)`, those that it reads, 0..1.
        place: Number of the exit, from 0.
        share: Of the text that is made, 0..1, a scalar or `(...)`.

    Returns:
        float32 `(..., F)`.
    """
    columns = []
    for name, center, spread in zip(
        policy.reads, policy.center, policy.spread, strict=True
    ):
        columns.append((log_odds(confidences[name]) - center) / spread)
    share = ops.cast(share, "float32")
    columns += [
        ops.full_like(share, float(index == place))
        for index in range(len(policy.layers))
    ]
    columns.append(share)
    shape = ops.shape(columns[0])
    return ops.stack([ops.broadcast_to(x, shape) for x in columns], axis=-1)


def log_odds(confidence):
    """ln(p / (1 - p)), float32: what tells apart confidences near 1."""
    p = ops.clip(ops.cast(confidence, "float32"), TINY, 1.0 - TINY)
    return ops.log(p) - ops.log(1.0 - p)


def chance_to_leave(policy, confidences, place, share):
    """Probability `(...)` that a policy lets tokens leave, float32.

    Args:
        policy: `ExitPolicy`.
        confidences: As in `policy_features`.
        place: As in `policy_features`.
        share: As in `policy_features`.
    """
    x = policy_features(policy, confidences, place, share)
    kernel, bias, last, last_bias = policy.weights
    hidden = ops.tanh(ops.matmul(x, kernel) + bias)
    return ops.sigmoid(ops.matmul(hidden, last) + last_bias)[..., 0]
