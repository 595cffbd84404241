"""What a search may want to know of a plan beside its margins."""

from tfshrink.evaluation.squad import answer
from tfshrink.evaluation.squad import NEW_TOKENS
from tfshrink.evaluation.squad import squad_prompts
from tfshrink.evaluation.squad_metrics import squad_scores

SPLIT = "search"
BATCH = 8  # questions at once


def score_functions(evaluator, settings):
    """Functions of a plan to entries of its record.

    Args:
        evaluator: `Evaluator`.
        settings: `SearchSettings`.

    Returns:
        A tuple: none where nothing but margins and costs is asked for.
    """
    found = []
    if settings.method != "pareto" and settings.metric == "f1":
        found.append(AnswerScore(evaluator, settings))
    if "latency" in settings.objective_names:
        found.append(LatencyScore(evaluator))
    return tuple(found)


class AnswerScore:
    """F1 and exact match of greedy answers to SQuAD's questions.

    Args:
        evaluator: `Evaluator`.
        settings: `SearchSettings`, with `f1_data` and `f1_questions`.
    """

    def __init__(self, evaluator, settings):
        from tfshrink.data.squad import load_squad

        self.evaluator = evaluator
        path = None if settings.f1_data == "squad" else settings.f1_data
        self.questions = load_squad(path, SPLIT, settings.f1_questions)
        source = evaluator.candidate.source
        self.tokenizer = source.tokenizer()
        room = source.config.context - NEW_TOKENS
        self.prompts = squad_prompts(self.questions, self.tokenizer, room)
        self._generator = None

    def __call__(self, plan):
        """Returns `{"f1", "exact_match"}`, in percent."""
        from tfshrink.models.generation import Generator
        from tfshrink.structure import plan_tensor

        if self._generator is None:
            self._generator = Generator(self.evaluator.model, chunk=NEW_TOKENS)
        self._generator.bits = plan_tensor(self.evaluator.config, plan)
        answers = answer(
            self.prompts,
            lambda prompts: self._generator.generate(
                prompts, max_new_tokens=NEW_TOKENS, temperature=0.0
            ),
            self.tokenizer.decode,
            batch_size=min(BATCH, len(self.prompts)),
        )
        wanted = [list(one.answers) for one in self.questions]
        found = squad_scores(answers, wanted)
        return {name: found[name] for name in ("f1", "exact_match")}


class LatencyScore:
    """Seconds that the products of one decoded token take, as exported.

    Args:
        evaluator: `Evaluator`.
    """

    def __init__(self, evaluator):
        from tfshrink.deploy.litert.product_times import ProductTimes

        precision = evaluator.candidate.precision
        self.times = ProductTimes(evaluator.config, precision.group)

    def __call__(self, plan):
        """Returns `{"latency"}`."""
        return {"latency": self.times.seconds(plan)}
