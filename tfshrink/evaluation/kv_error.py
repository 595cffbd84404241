"""What a coded cache changes in attention and in logits."""

import numpy as np
from keras import ops

from tfshrink.models.block_forward import BlockForward
from tfshrink.models.coded_blocks import CodedBlocks
from tfshrink.ops.divergence import compare_logits

ROWS = 128  # positions whose logits are held at once


class KVError:
    """Holds coded caches to the exact one, block by block, on one text.

    Args:
        model: Built `Decoder`.
        tokens: Integer `(B, T)`.
        first: First position that counts; what stands before fills the cache.
    """

    def __init__(self, model, tokens, first):
        self.tokens = np.asarray(tokens, "int32")
        self.first = first
        self.forward = BlockForward(model, self.tokens.shape[1])

    def measure(self, codecs):
        """Errors of one cache.

        Args:
            codecs: `BlockCodecs`, or `None` for the exact cache.

        Returns:
            Dict of means over the positions that count: `attention_error`, 1
            less the cosine of what a token looks at in all heads of a block;
            `worst_attention`, the same in the block where it is largest;
            `logit_kl`, divergence of the next-token distribution, nats; and
            `logit_rmse`, in units of logits.
        """
        if codecs is None:
            names = "attention_error", "worst_attention"
            return dict.fromkeys((*names, "logit_kl", "logit_rmse"), 0.0)
        exact = coded = self.forward.embed(self.tokens)
        run, errors = CodedBlocks(self.forward, codecs), []
        for index in range(len(self.forward.model.blocks)):
            exact, maps = self.forward.block_and_maps(index, exact)
            coded, cosine = run.block_and_cosine(index, coded, maps)
            cosine = ops.convert_to_numpy(cosine)[:, self.first :]
            errors.append(1.0 - float(cosine.mean()))
        return {
            "attention_error": float(np.mean(errors)),
            "worst_attention": max(errors),
            **self._logits(exact, coded),
        }

    def _logits(self, exact, coded):
        head = self.forward.head()
        width = exact.shape[-1]
        exact, coded = (
            ops.reshape(self.forward.finish(x)[:, self.first :], (-1, width))
            for x in (exact, coded)
        )
        found = {"kl": [], "mse": []}
        for start in range(0, exact.shape[0], ROWS):
            rows = slice(start, start + ROWS)
            logits = [ops.matmul(x[rows], head) for x in (exact, coded)]
            compared = compare_logits(*logits)
            for name, values in found.items():
                values.append(ops.convert_to_numpy(compared[name]))
        kl, mse = (
            float(np.concatenate(values).mean()) for values in found.values()
        )
        return {"logit_kl": kl, "logit_rmse": float(np.sqrt(mse))}
