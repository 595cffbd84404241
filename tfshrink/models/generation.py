"""Text from a decoder: batches and streams over one compiled step."""

import functools

import keras
import numpy as np
from keras import ops

from tfshrink.backend import Compiled
from tfshrink.backend import on_cpu
from tfshrink.errors import UserError
from tfshrink.models import decode_loop
from tfshrink.models import prompts as prompts_lib
from tfshrink.models.draft_walk import DraftWalk
from tfshrink.models.effective_weights import bits_beside
from tfshrink.models.effective_weights import EffectiveWeights
from tfshrink.models.effective_weights import MEMORY
from tfshrink.models.exit_walk import ExitWalk
from tfshrink.models.full_walk import FullWalk
from tfshrink.models.segments import Segments
from tfshrink.models.walk import EMPTY

_BUCKET = 64  # columns: cache lengths are multiples of it
_STREAM = 4  # tokens a call while streaming
SINGLE = 1  # sequences, at most, that XLA decodes on a CPU


class Generator:
    """Continues prompts of different lengths over a fixed-shape cache.

    Prompts are padded on the left, so that all sequences grow in the same
    column. Prefill and decode are compiled once each for a batch size, a
    bucket of prompt lengths and a cache length; bits and all settings are
    tensors. Decode makes up to `chunk` tokens a call, in a loop of its own,
    and leaves it when every sequence has stopped.

    A row's random numbers depend on the seed, its place in the batch and the
    token's in the continuation, and on nothing else.

    Args:
        model: A built `Decoder`. Its weights are read anew in every call,
            unless `frozen`.
        tokenizer: A `transformers` tokenizer, for `stream_text`.
        bits: As `Decoder` takes them (`structure.plan_tensor`), or
            `None` for full precision. The attribute may be set anew.
        cache_length: Columns of the cache. Default: what a call needs,
            rounded up to a multiple of 64.
        chunk: Most tokens that one call of the compiled loop makes.
        codecs: `BlockCodecs` that the cache keeps keys and values with, or
            `None` to keep them as they are.
        exits: `ExitSpec` by which tokens leave early, or `None`.
        frozen: Whether matrices are read once and what is in force of them is
            kept, which spares a tenth of a second a call for SmolLM2-135M.

    Attributes:
        depths: Of the last call, for each row the number of
            blocks that each of its tokens ran.

    Example:
        >>> generator = Generator(load_model("tiny"))
        >>> generator.generate([[5, 7], [9]], max_new_tokens=3, seed=1)
        [[401, 17, 240], [88, 371, 60]]
    """

    def __init__(
        self,
        model,
        tokenizer=None,
        *,
        bits=None,
        cache_length=None,
        chunk=64,
        codecs=None,
        exits=None,
        frozen=False,
    ):
        self.model = model
        self.frozen = frozen
        self.depths = []
        self.tokenizer = tokenizer
        self.bits = bits
        self.cache_length = cache_length
        self.chunk = chunk
        self.walk = walk_of(model, exits, codecs)
        self.remember = None
        if model.config.encoder_layers:
            self.remember = Compiled(model.remember, model.variables)
        self.compiled = {}  # `_Programs`, by whether XLA makes them on a CPU

    @property
    def codecs(self):
        """`BlockCodecs` of the cache, or `None`; may be set before a call."""
        return self.walk.codecs

    @codecs.setter
    def codecs(self, codecs):
        self.walk.codecs = codecs

    def generate(self, prompts, *, max_new_tokens, sources=None, **settings):
        """Continues a batch of prompts.

        Args:
            prompts: List of token lists.
            max_new_tokens: Tokens each gets at most.
            sources: Of an encoder-decoder, what `pair_batches.source_rows`
                returns: `source` and `source_mask`, `(B, S)`.
            **settings: As in `prompts.sampling_settings`.

        Returns:
            List of lists of new tokens, without the stop token.

        Raises:
            UserError: an empty prompt, a token outside the vocabulary, more
                tokens than the context or the cache holds, a setting out of
                its range, bits that do not fit the model.
        """
        rows = [[] for _ in prompts]
        self.depths = [[] for _ in prompts]
        steps = self.steps(
            prompts, max_new_tokens, self.chunk, settings, sources
        )
        for parts in steps:
            for found, own in zip((rows, self.depths), parts, strict=True):
                for row, values in zip(found, own, strict=True):
                    row += values[values != EMPTY].tolist()
        return rows

    def stream(self, prompt, *, max_new_tokens, sources=None, **settings):
        """Yields the tokens that `generate` makes, as they come.

        Args:
            prompt: Token list.
            max_new_tokens: As in `generate`.
            sources: As in `generate`.
            **settings: As in `generate`.
        """
        chunk = min(_STREAM, self.chunk)
        steps = self.steps([prompt], max_new_tokens, chunk, settings, sources)
        self.depths = [[]]
        for new, depth in steps:
            self.depths[0] += depth[depth != EMPTY].tolist()
            yield from new[new != EMPTY].tolist()

    def stream_text(self, text, *, stop_strings=(), **settings):
        """Yields the continuation of a text in pieces.

        Args:
            text: The prompt; empty begins with the model's start token.
            stop_strings: Texts that end the continuation, without being part
                of it.
            **settings: As in `generate`.
        """
        from tfshrink.models.detokenize import text_pieces
        from tfshrink.models.detokenize import until

        tokens = self.stream(self.encode(text), **settings)
        yield from until(text_pieces(tokens, self.tokenizer), stop_strings)

    def encode(self, text):
        """Returns a prompt as tokens; an empty one is the start token."""
        if self.tokenizer is None:
            raise UserError("`tokenizer` must be given to encode text.")
        tokens, start = self.tokenizer(text)["input_ids"], self.model.config.bos
        return tokens if tokens or start is None else [start]

    def steps(self, prompts, max_new_tokens, chunk, settings, sources=None):
        """Yields new tokens part by part, each the work of one call.

        Args:
            prompts: List of token lists.
            max_new_tokens: Tokens each gets at most.
            chunk: Tokens of a part, at most those of the generator.
            settings: Dict, as in `generate`.
            sources: As in `generate`.

        Yields:
            `(new, depth)`: int32 `(B, n)`, the tokens and the blocks that each
            ran, `EMPTY` behind a stop.
        """
        config = self.model.config
        prompts_lib.check_prompts(prompts, config, max_new_tokens)
        settings = prompts_lib.sampling_settings(config, **settings)
        settings["exit"] = self.walk.settings(max_new_tokens)
        bits = self._bits()
        longest = max(map(len, prompts)) - 1
        width = self._prompt_columns(longest, max_new_tokens)
        length = self._columns(width + max_new_tokens)
        tokens, pad = prompts_lib.left_pad([p[:-1] for p in prompts], width)
        # What the loop takes are tensors: a Python number would retrace.
        settings, tokens, pad = _tensors((settings, tokens, pad))
        memory = self._memory(sources, len(prompts), bits)
        programs = self._programs(len(prompts))
        weights = {**programs.weights(bits, self.frozen), **memory}
        bits = bits_beside(self.model, bits)
        cache = self.walk.create(len(prompts), length)
        if width:
            cache = programs.prefill(weights, bits, tokens, pad, cache)
        seen = prompts_lib.seen_mask(prompts, config.vocabulary)
        state = {
            "cache": cache,
            **_tensors(
                {
                    "column": np.array(width, "int32"),
                    "step": np.array(0, "int32"),
                    "token": np.array([p[-1] for p in prompts], "int32"),
                    "seen": seen,
                    "done": np.zeros(len(prompts), "bool"),
                }
            ),
        }
        del cache  # its copies come and go with `state`
        for start in range(0, max_new_tokens, chunk):
            count = min(max_new_tokens - start, chunk)
            new, depth, state = programs.decode(
                weights, bits, pad, settings, _tensors(np.int32(count)), state
            )
            yield tuple(
                ops.convert_to_numpy(own)[:, :count] for own in (new, depth)
            )
            if ops.convert_to_numpy(state["done"]).all():
                return

    def _programs(self, batch):
        """What is compiled for batches like one of so many sequences."""
        xla = on_cpu() and batch <= SINGLE
        if xla not in self.compiled:
            self.compiled[xla] = _Programs(self.walk, self.chunk, xla)
        return self.compiled[xla]

    def _prompt_columns(self, longest, new):
        """Columns for prompts: a bucket, or what a given cache leaves."""
        width = prompts_lib.prompt_bucket(longest)
        chunk = self.codecs and self.codecs.chunk
        step = chunk if chunk and width > chunk else 1
        width += -width % step
        room = width if self.cache_length is None else self.cache_length - new
        if width > room:  # as much as the cache leaves, in whole steps
            least = longest + -longest % step
            width = max(least, room - room % step)
        return width

    def _columns(self, needed):
        if self.cache_length is None:
            return -(-needed // _BUCKET) * _BUCKET
        if needed > self.cache_length:
            raise UserError(
                f"`cache_length` must be at least {needed} columns for these "
                f"prompts and new tokens. Received: {self.cache_length}"
            )
        return self.cache_length

    def _memory(self, sources, batch, bits):
        """What the blocks attend to beside the cache: a part of weights."""
        if (sources is None) != (self.remember is None):
            raise UserError(
                "`sources` must be given to an encoder-decoder, and to nothing "
                f"else. Received: {'none' if sources is None else 'some'} for "
                f"{self.model.config.name}"
            )
        if sources is None:
            return {}
        source = np.asarray(sources["source"], "int32")
        if len(source) != batch or source.shape[1] > self.model.config.context:
            raise UserError(
                f"`sources` must be one of each of {batch} prompts, of at most "
                f"{self.model.config.context} tokens. Received: shape "
                f"{source.shape}"
            )
        mask = np.asarray(sources["source_mask"], "float32")
        return {MEMORY: self.remember(source, mask, bits)}

    def _bits(self):
        if self.bits is None:
            return None
        groups = len(self.model.groups()) if self.model.precision else 0
        if len(self.bits) != groups:
            raise UserError(
                f"`bits` must hold one bit-width for each of the {groups} "
                f"switchable layer groups. Received: {len(self.bits)}"
            )
        return _tensors(np.asarray(self.bits, "int32"))


class _Programs:
    """The compiled functions of a generator.

    XLA decodes one sequence on a CPU about twice as fast as TensorFlow, and is
    slower with several and with prompts (docs/decoding.md).

    Args:
        walk: `Walk`.
        chunk: Most tokens that one call of `decode` makes.
        xla: Whether XLA makes `decode` on a CPU.
    """

    def __init__(self, walk, chunk, xla):
        model = walk.model
        self._kept = None  # bits, and the weights they put in force
        self.prepare = EffectiveWeights(model, turned=xla)
        self.prefill = Compiled(
            functools.partial(decode_loop.prefill, walk, turned=xla),
            model.variables,
        )
        self.decode = Compiled(
            functools.partial(
                decode_loop.decode, walk, length=chunk, turned=xla
            ),
            model.variables,
            xla=xla,
        )

    def weights(self, bits, keep=False):
        """Of `EffectiveWeights` at bits; kept ones where they are the same."""
        key = None if bits is None else ops.convert_to_numpy(bits).tobytes()
        if not keep or self._kept is None or self._kept[0] != key:
            found = self.prepare(bits)
            self._kept = (key, found) if keep else None
            return found
        return self._kept[1]


def walk_of(model, exits=None, codecs=None):
    """The `Walk` through a model.

    Args:
        model: Built `Decoder`.
        exits: `ExitSpec`, or `None` for all blocks.
        codecs: `BlockCodecs` of the K/V cache, or `None`.
    """
    if exits is None:
        return FullWalk(model, codecs)
    segments = Segments(model, exits, codecs)
    return (DraftWalk if exits.missing == "verify" else ExitWalk)(segments)


def _tensors(nest):
    """The nest with every array as a tensor of the backend."""
    return keras.tree.map_structure(ops.convert_to_tensor, nest)
