"""Text from an export: numpy, LiteRT and tokenizers, nothing else."""

import time

from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.litert.exit_session import ExitSession
from tfshrink.deploy.litert.session import Session
from tfshrink.deploy.sampling import Sampler
from tfshrink.deploy.sampling import Sampling
from tfshrink.errors import UserError
from tfshrink.exit_spec import ExitSpec
from tfshrink.models.detokenize import text_pieces
from tfshrink.models.detokenize import until


class Runtime:
    """Continues prompts with an exported model, a batch of one.

    Args:
        folder: Folder of a LiteRT export.
        threads: Of a call; `None` takes all cores.

    Attributes:
        times: Of the last text: seconds at its start, after the prompt, and
            after each new token.
        depths: Of the last text: blocks that each of its tokens ran.

    Example:
        >>> runtime = Runtime("saved_models/spnet-1/litert")
        >>> for piece in runtime.stream("Once upon", max_new_tokens=32):
        ...     print(piece, end="", flush=True)
    """

    def __init__(self, folder, *, threads=None):
        artefact = Artefact(folder)
        self.config = artefact.metadata["config"]
        self.tokenizer = artefact.tokenizer()
        self.template = artefact.chat_template()
        self.metadata = artefact.metadata
        self.session = _session(artefact, threads)
        self.known = []
        self.times = []
        self.depths = []

    def encode(self, text):
        """Tokens of a text; those of an empty one are the start token."""
        tokens, start = self.tokenizer.encode(text).ids, self.config["bos"]
        tokens = tokens if tokens or start is None else [start]
        if not tokens:
            raise UserError(
                "`prompt` must hold at least one token. Received: ''"
            )
        return tokens

    def stream(self, prompt, *, stop=(), **settings):
        """Yields the continuation of a text in pieces, as they come.

        Args:
            prompt: Text.
            stop: Texts that end the continuation, without being part of it.
            **settings: As in `tokens`.
        """
        tokens = self.tokens(self.encode(prompt), **settings)
        yield from until(text_pieces(tokens, _Decoder(self.tokenizer)), stop)

    def tokens(self, prompt, *, max_new_tokens, sampling=None):
        """Yields the tokens that continue a prompt, without the stop token.

        What the prompt has in common with the text before stays in the cache.

        Args:
            prompt: Token ids.
            max_new_tokens: New tokens at most; fewer where the context ends.
            sampling: `Sampling`.
        """
        context = self.config["context"]
        if len(prompt) >= context:
            raise UserError(
                f"`prompt` must have fewer tokens than the context of "
                f"{context}. Received: {len(prompt)}"
            )
        self.times = [time.monotonic()]
        choose = Sampler(sampling or Sampling(), prompt)
        count = min(max_new_tokens, context - len(prompt))
        self.depths = []
        self.session.begin(count)
        logits = self._read(prompt)
        for made in range(count):
            token = choose(logits)
            self.times.append(time.monotonic())
            self.depths.append(self.session.depth)
            if token in self.config["eos"]:
                return
            yield token
            if made + 1 < count:
                logits = self.session.step(token)
                self.known.append(token)

    def _read(self, prompt):
        """Logits behind a prompt; only what is new in it is run."""
        same = 0
        for old, new in zip(self.known, prompt[:-1], strict=False):
            if old != new:
                break
            same += 1
        same = self.session.rewind(same)
        logits = self.session.prefill(prompt[same:])
        self.known = list(prompt)
        return logits

    def chat(self, messages):
        """The prompt of a conversation.

        Args:
            messages: Dicts of `role` (`"user"`, `"assistant"`) and `content`.

        Raises:
            UserError: the model has no chat template.
        """
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        if self.template is None:
            raise UserError(
                "`--interactive` needs a model with a chat template. "
                f"Received: {self.config['name']}, which has none"
            )
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True
        )
        special = self.metadata.get("special_tokens", {})
        return environment.from_string(self.template).render(
            messages=messages, add_generation_prompt=True, **special
        )


def _session(artefact, threads):
    """What runs an artefact: all blocks, or as many as a token needs."""
    own, exits = artefact.metadata["config"], artefact.metadata.get("exit")
    if exits is None:
        return Session(artefact.path, own, threads=threads)
    spec = ExitSpec.from_json(exits, f"{artefact.folder}: exit")
    return ExitSession(artefact.path, own, spec, threads=threads)


class _Decoder:
    """Gives `tokenizers` the interface that `text_pieces` uses."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def decode(self, tokens, skip_special_tokens, **_):
        return self.tokenizer.decode(
            tokens, skip_special_tokens=skip_special_tokens
        )
