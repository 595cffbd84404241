r"""The PyTorch peer of one `spnet` step: switchable bits, an adapter a width.

Every `nn.Linear` of the blocks of a `transformers` Llama model becomes a
`QuantLinear`: a frozen weight that the forward pass rounds per output channel
to 8, 4 or 2 bits, and beside it one LoRA adapter per bit-width. One step
distils the unquantized model into each of the plans (the mean of their
KL divergences, every position, temperature 1) and updates the adapters once.

Run as

    python benchmarks/peers/torch_train_step.py \
        --weights FOLDER --tokens tokens.npy
    python benchmarks/peers/torch_train_step.py \
        --weights FOLDER --tokens tokens.npy --dtype bfloat16 --compile

Prints one line of JSON: `tokens_per_second` counts each token of the batch
once, although every plan reads it.

Axes: B batch, T tokens a row, N = B * T, V vocabulary, C channels, R rank.
"""

import math

import torch
import torch_common
from torch import nn
from torch.nn import functional

PLANS = (8, 4, 2)
RANKS = {8: 16, 4: 32, 2: 64}
ALPHA_OVER_RANK = 2.0


def fake_quantize(weight, bits):
    """Rounds a weight to `bits`, symmetrically, one scale an output channel.

    Two bits use the four levels (q + 1/2) * s, q in -2..1, that is a quarter
    and three quarters of the range; the others -(2^(b-1)-1)..2^(b-1)-1.

    Args:
        weight: Tensor of shape (C_out, C_in).
        bits: Bit-width, 2 to 8.

    Returns:
        A tensor of the shape and type of `weight`; computed in float32.
    """
    wide = weight.float()
    # Twenty times faster than the infinity norm or aminmax on a CPU.
    peak = torch.maximum(wide.amax(1, True), -wide.amin(1, True))
    peak = peak.clamp_min(torch.finfo(torch.float32).tiny)
    if bits == 2:
        scale = peak / 2
        levels = (wide / scale).floor_().clamp_(max=1).add_(0.5)
    else:
        # A scale taken from the peak never leaves the grid: no clamp.
        scale = peak / (2 ** (bits - 1) - 1)
        levels = (wide / scale).round_()
    return levels.mul_(scale).to(weight.dtype)


class QuantLinear(nn.Module):
    """A linear layer of switchable precision with an adapter per bit-width.

    The base weight is frozen, so the straight-through gradient of its
    rounding is never taken and the rounding runs outside the graph.
    The attribute `bits` selects the precision; `None` is the plain layer.

    Args:
        linear: The `nn.Linear` to wrap.
        cache_quantized: Whether the rounded weight is kept for every
            bit-width instead of being made again in every forward pass.
    """

    def __init__(self, linear, *, cache_quantized=False):
        """Shares the weight of `linear`; makes the adapters."""
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.bits = None
        self.cache = {}
        self.down = nn.ParameterDict()
        self.up = nn.ParameterDict()
        outputs, inputs = self.weight.shape
        for bits, rank in RANKS.items():
            down = torch.empty(rank, inputs)
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            self.down[str(bits)] = nn.Parameter(down)
            self.up[str(bits)] = nn.Parameter(torch.zeros(outputs, rank))
            if cache_quantized:
                self.cache[bits] = fake_quantize(self.weight, bits)

    def forward(self, x):
        """Applies the layer to x (..., C_in); returns (..., C_out)."""
        if self.bits is None:
            return functional.linear(x, self.weight, self.bias)
        weight = self.cache.get(self.bits)
        if weight is None:
            with torch.no_grad():
                weight = fake_quantize(self.weight, self.bits)
        # Adapters are float32 masters; they compute in the type of x.
        down = self.down[str(self.bits)].to(x.dtype)
        up = self.up[str(self.bits)].to(x.dtype)
        inner = functional.linear(x, down) * ALPHA_OVER_RANK  # (..., R)
        base = functional.linear(x, weight, self.bias)
        return base + functional.linear(inner, up)


def wrap_blocks(model, *, cache_quantized):
    """Replaces every `nn.Linear` of the blocks; returns the new layers."""
    found = []
    for block in model.model.layers:
        for module in list(block.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear):
                    layer = QuantLinear(child, cache_quantized=cache_quantized)
                    setattr(module, name, layer)
                    found.append(layer)
    return found


class Distillation(torch.autograd.Function):
    """Cross-entropy of a student under its teacher: KL plus a constant.

    Works on a few rows at a time, which stay in the processor's cache, and
    makes the gradient, softmax(logits) - target, in the same pass.
    """

    ROWS = 32

    @staticmethod
    def forward(ctx, logits, target):
        """Returns the mean over positions, in nats.

        Args:
            ctx: Where the gradient waits for `backward`.
            logits: Student's logits of shape (N, V), of any float type.
            target: Teacher's probabilities of shape (N, V), float32.
        """
        gradient = torch.empty_like(logits)
        total = 0.0
        for i in range(0, len(logits), Distillation.ROWS):
            rows = slice(i, i + Distillation.ROWS)
            log_p = torch.log_softmax(logits[rows], -1, dtype=torch.float32)
            total -= torch.dot(log_p.flatten(), target[rows].flatten())
            log_p.exp_().sub_(target[rows]).div_(len(logits))
            gradient[rows] = log_p
        ctx.save_for_backward(gradient)
        return total / len(logits)

    @staticmethod
    def backward(ctx, upstream):
        """Scales the gradient that `forward` made."""
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(upstream), None


class Step:
    """One optimizer step over all plans.

    Args:
        model: A model whose blocks were wrapped.
        layers: Its `QuantLinear` layers.
        learning_rate: Of AdamW.
    """

    def __init__(self, model, layers, *, learning_rate=5e-4):
        """Makes the optimizer of the adapters."""
        self.model = model
        self.layers = layers
        adapters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            adapters, lr=learning_rate, fused=True
        )

    def __call__(self, tokens):
        """Trains on tokens (B, T); returns the mean KL in nats a position."""
        with torch.no_grad():
            target = functional.softmax(self.logits(tokens, None).float(), -1)
            entropy = torch.special.entr(target).sum(-1).mean()
        total = 0.0
        for bits in PLANS:
            loss = Distillation.apply(self.logits(tokens, bits), target)
            loss = loss / len(PLANS)
            loss.backward()  # a plan at a time: one graph in memory
            total += loss.item()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total - entropy.item()

    def logits(self, tokens, bits):
        """The logits (N, V) of the model at a bit-width."""
        for layer in self.layers:
            layer.bits = bits
        logits = self.model(tokens, use_cache=False).logits
        return logits.flatten(0, 1)


def main(flags):
    """Measures the step and prints the figures."""
    torch_common.prepare(flags.threads)
    model = torch_common.load_model(flags.weights, flags.dtype)
    batches = torch_common.load_batches(
        flags.tokens,
        batch=flags.batch,
        context=flags.context,
        vocabulary=model.config.vocab_size,
    )
    layers = wrap_blocks(model, cache_quantized=flags.cache_quantized)
    if flags.compile:
        torch_common.compile_blocks(model)
    step = Step(model, layers)
    losses, seconds = [], []
    for i in range(flags.warmup + flags.steps):
        value, took = torch_common.timed(step, batches[i % len(batches)])
        losses.append(value)
        seconds.append(took)
    torch_common.report(
        flags,
        seconds[flags.warmup :],
        warmup_seconds=seconds[: flags.warmup],
        losses=losses,
        plans=PLANS,
        ranks=RANKS,
    )


def parse(arguments=None):
    """Reads the command line."""
    flags = torch_common.parser(__doc__, batch=4, context=256, steps=5)
    flags.add_argument(
        "--cache_quantized",
        action="store_true",
        help="Round each weight once a bit-width, not in every forward.",
    )
    return flags.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
