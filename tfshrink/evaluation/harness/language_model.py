"""What lm-evaluation-harness asks of a model: likelihoods and text."""

import itertools

import numpy as np

from tfshrink.data.pack import tokenize
from tfshrink.data.pack import windows
from tfshrink.errors import UserError

NEW_TOKENS = 256  # of a text, where a task does not say: the harness's own
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens")  # first one counts
SAMPLED = ("temperature", "top_k", "top_p")
# What else a task may say; `num_beams` of 1 is what happens anyway.
KNOWN = {*LENGTHS, *SAMPLED, "do_sample", "num_beams", "until"}


class LanguageModel:
    """Answers the three questions of the harness, in nats and text.

    Knows nothing of `lm_eval` and of what runs the model.

    Args:
        tokenizer: As for `data.pack.tokenize`, with `decode`.
        config: `DecoderConfig`.
        score: Function of token lists `(T,)` to a pair of NumPy `(T - 1,)`
            each: nats and ranks of all tokens but the first, as
            `token_scores` has them.
        proceed: Function of `(prompts, count, stopped, settings)` to lists
            of new tokens: at most `count`, to where `stopped(tokens)` is true
            of each or later; `settings` has `temperature`, `top_k` and
            `top_p`, as far as a task names them.
        window: Tokens of a window of `rolling`.

    Example:
        >>> model.loglikelihood([("One fish, two", " fish")])
        [(-1.7, True)]
    """

    def __init__(self, tokenizer, config, *, score, proceed, window):
        self.tokenizer = tokenizer
        self.config = config
        self.score = score
        self.proceed = proceed
        self.window = window

    @property
    def prefix(self):
        """The token in front of a text: start token, or a stop token."""
        if self.config.bos is not None:
            return self.config.bos
        return self.config.eos[0] if self.config.eos else 0

    def encode(self, text):
        """Tokens of a text, without special ones."""
        return tokenize([text], self.tokenizer)[0].tolist()

    def loglikelihood(self, pairs):
        """How likely continuations are.

        Args:
            pairs: List of `(context, continuation)`; the context may be
                empty. One that does not fit is cut on the left.

        Returns:
            List of `(nats, greedy)`: the log-likelihood of a continuation,
            and whether each of its tokens is the likeliest.

        Raises:
            UserError: a continuation is longer than the model can see.
        """
        split = [self._split(*pair) for pair in pairs]
        counts = [len(tokens) for _, tokens in split]
        limit = self.config.context
        for (_, text), count in zip(pairs, counts, strict=True):
            if count >= limit:
                raise UserError(
                    f"A continuation must have fewer tokens than the context "
                    f"of {self.config.name}, {limit}. Received: {count}, "
                    f"{text[:40]!r}"
                )
        found = self.score([(c + tokens)[-limit:] for c, tokens in split])
        return [
            _sums(nats[len(nats) - count :], ranks[len(ranks) - count :])
            for (nats, ranks), count in zip(found, counts, strict=True)
        ]

    def _split(self, context, continuation):
        """Tokens of both; spaces between them go with the continuation."""
        if not context:
            tokens = self.encode(continuation)
            if tokens[:1] == [self.prefix]:
                return tokens[:1], tokens[1:]
            return [self.prefix], tokens
        own = context.rstrip()
        continuation = context[len(own) :] + continuation
        # Together: a word may begin in one and end in the other.
        whole, tokens = self.encode(own + continuation), self.encode(own)
        if not tokens:  # nothing but space
            return [self.prefix], whole
        return whole[: len(tokens)], whole[len(tokens) :]

    def rolling(self, texts):
        """How likely whole texts are.

        Each is read in windows behind the prefix token, as the strided
        perplexity of `data.pack.windows` is: every token counts once.

        Args:
            texts: List of strings.

        Returns:
            List of log-likelihoods in nats.
        """
        rows, masks, counts = [], [], []
        for text in texts:
            own = self._windows([self.prefix, *self.encode(text)])
            rows += [row for row, _ in own]
            masks += [mask for _, mask in own]
            counts.append(len(own))
        nats = [
            -float(np.sum(own[mask[1:] > 0], dtype="float64"))
            for (own, _), mask in zip(self.score(rows), masks, strict=True)
        ]
        nats = iter(nats)
        return [sum(itertools.islice(nats, count), 0.0) for count in counts]

    def _windows(self, stream):
        """Rows of a text, with what counts in each."""
        if len(stream) <= self.window:
            return [(stream, np.ones(len(stream)))]
        parts = windows(stream, self.window, self.window - 1)
        return list(zip(parts.tokens.tolist(), parts.mask, strict=True))

    def generate_until(self, requests):
        """Continues texts up to a stop string.

        Args:
            requests: List of `(context, settings)`: `until` (a string, or
                several), `max_gen_toks`, `do_sample`, `temperature`, `top_k`
                and `top_p`. Text is greedy unless `do_sample`. A context that
                does not fit is cut on the left.

        Returns:
            List of strings, without what stopped them.

        Raises:
            UserError: a setting is none of those.
        """
        texts = [""] * len(requests)
        for settings, places in _alike([own for _, own in requests]):
            until, count, sampling = self._settings(settings)
            room = self.config.context - count
            prompts = [self.encode(requests[i][0]) for i in places]
            prompts = [(p or [self.prefix])[-room:] for p in prompts]

            def stopped(tokens, until=until):
                text = self.decode(tokens)
                return cut(text, until) != text

            found = self.proceed(prompts, count, stopped, sampling)
            for place, tokens in zip(places, found, strict=True):
                texts[place] = cut(self.decode(tokens), until)
        return texts

    def decode(self, tokens):
        """Text of new tokens."""
        tokens = [int(token) for token in tokens]
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _settings(self, settings):
        """Stop strings, tokens at most and sampling of a request."""
        for name, value in settings.items():
            if name not in KNOWN or (name == "num_beams" and value != 1):
                raise UserError(
                    "generation_kwargs of a task must be of "
                    f"{', '.join(sorted(KNOWN))}, with one beam. "
                    f"Received: {name}={value}"
                )
        until = settings.get("until") or []
        until = [until] if isinstance(until, str) else list(until)
        asked = [settings[name] for name in LENGTHS if settings.get(name)]
        count = int((asked or [NEW_TOKENS])[0])
        sampling = {
            name: settings[name] for name in SAMPLED if name in settings
        }
        if not settings.get("do_sample", sampling.get("temperature", 0.0) > 0):
            sampling = {"temperature": 0.0}
        return until, min(count, self.config.context - 1), sampling


def cut(text, stops):
    """The text in front of the first stop string in it."""
    places = [text.find(stop) for stop in stops if stop]
    return text[: min((p for p in places if p >= 0), default=len(text))]


def _sums(nats, ranks):
    return -float(np.sum(nats, dtype="float64")), bool(np.all(ranks == 0))


def _alike(settings):
    """Each of the settings once, and the places that have it."""
    places = {}
    for place, own in enumerate(settings):
        places.setdefault(repr(sorted(own.items())), []).append(place)
    return [(settings[own[0]], own) for own in places.values()]
