"""What several readers need: a tokenizer, a model, a plan."""

import functools


def subwords():
    from tfshrink.data.subwords import train_subwords

    return train_subwords(["a text of words"] * 3, vocabulary_size=264)


def tokenizer():
    from tfshrink.data.subwords import as_transformers

    return as_transformers(subwords(), context=48)


@functools.cache
def model():
    from tests.training import tiny

    return tiny.model(bank="codes")


def plan(**more):
    from tfshrink.plan import Plan

    return Plan.parse(
        "4:heads=.5:embedding=4",
        layers=2,
        pruning=(0.5, 0, 0, 0, 0, 0.5, 0, 0, 0),
        exit="margin:.8:layers=1",
        kv={"codec": "pca", "rate": 4.0, "layers": "0,1"},
        **more,
    )


def all_of(*calls):
    """Calls all; the first documented error is raised at the end."""
    from tfshrink.errors import UserError

    errors = []
    for call in calls:
        try:
            call()
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0]
