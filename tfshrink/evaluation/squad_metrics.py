"""Exact match and F1 as SQuAD v1.1 defines them."""

import collections
import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text):
    """Lower case, without ASCII punctuation, articles and extra spaces.

    Punctuation goes before articles, as in the official definition: the
    pieces of "a-n" join into the article "an" and vanish.
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction, answers):
    """Whether the normalized prediction equals one of the answers.

    Args:
        prediction: The predicted text.
        answers: The accepted texts.

    Returns:
        1.0 or 0.0.
    """
    found = normalize_answer(prediction)
    return float(any(found == normalize_answer(a) for a in answers))


def f1(prediction, answers):
    """The best F1 over the answers, each as a bag of words.

    Args:
        prediction: The predicted text.
        answers: The accepted texts.

    Returns:
        A number from 0 to 1; 0 where no word is shared, even if both texts
        are empty (v1.1 has no unanswerable questions).
    """
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def _f1(prediction, answer):
    found = normalize_answer(prediction).split()
    wanted = normalize_answer(answer).split()
    shared = collections.Counter(found) & collections.Counter(wanted)
    count = shared.total()
    if count == 0:
        return 0.0
    precision, recall = count / len(found), count / len(wanted)
    return 2 * precision * recall / (precision + recall)


def squad_scores(predictions, answers):
    """Means over questions, in percent.

    Args:
        predictions: One text a question, or `None` for a question without
            a prediction, which scores 0.
        answers: One list of accepted texts a question.

    Returns:
        A dict of `exact_match` and `f1`, in percent, and `questions`.

    Raises:
        ValueError: There are no questions, or the lengths differ.
    """
    if len(predictions) != len(answers) or not predictions:
        raise ValueError(
            "`predictions` and `answers` must have one entry a question. "
            f"Received: {len(predictions)} and {len(answers)}"
        )
    pairs = [
        (prediction, texts)
        for prediction, texts in zip(predictions, answers, strict=True)
        if prediction is not None
    ]
    percent = 100.0 / len(predictions)
    return {
        "exact_match": percent * sum(exact_match(p, a) for p, a in pairs),
        "f1": percent * sum(f1(p, a) for p, a in pairs),
        "questions": len(predictions),
    }
