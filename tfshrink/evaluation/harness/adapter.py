"""A `LanguageModel` in the form that lm-evaluation-harness calls."""


def adapter(model):
    """An `lm_eval.api.model.LM` around a model.

    Args:
        model: `LanguageModel`.
    """
    from lm_eval.api.model import LM  # heavy, and an extra

    def asked(requests):
        return [request.args for request in requests]

    class Adapter(LM):
        def loglikelihood(self, requests):
            return model.loglikelihood(asked(requests))

        def loglikelihood_rolling(self, requests):
            return model.rolling([text for (text,) in asked(requests)])

        def generate_until(self, requests):
            return model.generate_until(asked(requests))

    return Adapter()
