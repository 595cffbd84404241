"""`pydoc`: the Python documentation that every Python carries.

`pydoc_data.topics` holds 79 topics of English prose, grammar and code.
Many contain others word for word (`compound` contains `for`, `while`,
`with`, ...), so a split by topic alone would test on text that was trained
on. Here a topic that mostly repeats a longer one is dropped, and topics that
still share passages stay in one split.
"""

from tfshrink.data.partition import split_of
from tfshrink.errors import unknown_choice

# Test holds at least 32,000 SmolLM2 tokens on Python 3.10 to 3.13.
SHARES = {"test": 0.42, "train": 0.38, "calibrate": 0.1, "search": 0.1}
# Chosen for the sizes of the splits alone: whole topics fall unevenly.
SALT = "pydoc/101/"

SHINGLE = 8  # words in a row that count as a repeated passage
CONTAINED = 0.5  # a topic with this share in a longer one is dropped
RELATED = 0.01  # topics that share more than this stay in one split


def load_pydoc(split):
    """Returns the topics of one split, in the order of their names.

    Args:
        split: `"train"`, `"calibrate"`, `"search"` or `"test"`.

    Returns:
        List of strings.

    Raises:
        UserError: `split` is none of these.
    """
    from pydoc_data.topics import topics

    if split not in SHARES:
        raise unknown_choice("split", split, SHARES)
    return [
        topics[name]
        for name, own in sorted(split_topics(topics).items())
        if own == split
    ]


def split_topics(topics):
    """Returns `{name: split}` of the topics worth keeping.

    Args:
        topics: `{name: text}`.

    Returns:
        A dict without the topics that repeat a longer one.
    """
    passages = {name: shingles(text) for name, text in topics.items()}
    kept = drop_contained(topics, passages)
    return {
        name: split_of(SALT + leader, SHARES)
        for name, leader in group_related(kept, passages).items()
    }


def shingles(text):
    """Returns the set of runs of `SHINGLE` words in `text`."""
    words = text.split()
    runs = range(len(words) - SHINGLE + 1)
    return {" ".join(words[i : i + SHINGLE]) for i in runs}


def drop_contained(topics, passages):
    """Returns the names whose text no longer topic repeats, longest first."""
    kept = []
    for name in sorted(topics, key=lambda name: (-len(topics[name]), name)):
        repeats = any(
            topics[name] == topics[other]
            or shared(passages[name], passages[other]) >= CONTAINED
            for other in kept
        )
        if not repeats:
            kept.append(name)
    return kept


def group_related(names, passages):
    """Returns `{name: leader}`: the longest of the topics it is tied to."""
    leader = {name: name for name in names}
    for index, name in enumerate(names):
        for other in names[:index]:
            if shared(passages[name], passages[other]) < RELATED:
                continue
            # Longest first: the earlier of two leaders leads both.
            old, new = leader[name], leader[other]
            if names.index(old) < names.index(new):
                old, new = new, old
            for member in names:
                if leader[member] == old:
                    leader[member] = new
    return leader


def shared(passages, others):
    """Returns the share of `passages` found in `others`, 0 when empty."""
    return len(passages & others) / max(len(passages), 1)
