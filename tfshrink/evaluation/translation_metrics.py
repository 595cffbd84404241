"""BLEU and chrF of translations, with and without Romanian diacritics."""

import unicodedata

# Comma below, and the cedilla that older text writes in its place.
_PLAIN = str.maketrans("ăâîșşțţĂÂÎȘŞȚŢ", "aaissttAAISSTT")


def fold_diacritics(text):
    """Returns `text` with a, i, s and t for the Romanian letters of each."""
    return unicodedata.normalize("NFC", text).translate(_PLAIN)


def translation_scores(predictions, references):
    """Scores a corpus; each score is from 0 to 100, higher is better.

    Folded scores tell how much of an error is in the diacritics alone: much
    Romanian text is written without them, or with the cedilla.

    Args:
        predictions: One translation a sentence.
        references: One reference a sentence.

    Returns:
        A dict of `bleu`, `chrf`, `bleu_folded`, `chrf_folded`, their
        `bleu_signature` and `chrf_signature`, and `sentences`, a count.

    Raises:
        ValueError: There are no sentences, or the lengths differ.

    Reference: Post (2018), "A Call for Clarity in Reporting BLEU Scores";
        Popović (2015), "chrF".
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.metrics import CHRF

    if len(predictions) != len(references) or not predictions:
        raise ValueError(
            "`predictions` and `references` must have one entry a sentence. "
            f"Received: {len(predictions)} and {len(references)}"
        )
    folded = [
        list(map(fold_diacritics, texts)) for texts in (predictions, references)
    ]
    scores = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        scores[name] = metric.corpus_score(predictions, [references]).score
        scores[f"{name}_signature"] = str(metric.get_signature())
        found = metric.corpus_score(folded[0], [folded[1]])
        scores[f"{name}_folded"] = found.score
    return {**scores, "sentences": len(predictions)}
