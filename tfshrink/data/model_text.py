"""gen_data's work: a model, its prompts, and a file of what it writes."""

import time

from tfshrink.data.documents import is_squad
from tfshrink.data.documents import load_documents
from tfshrink.data.documents import SOURCES
from tfshrink.data.generated import batch_seed
from tfshrink.data.generated import generate_text
from tfshrink.data.generated import listed_prompts
from tfshrink.data.generated import start_prompts
from tfshrink.data.generated import text_prompts
from tfshrink.data.pack import tokenize
from tfshrink.data.partition import text_identity
from tfshrink.data.progress_bar import progress_bar
from tfshrink.data.squad import generation_prompt
from tfshrink.data.squad import load_squad
from tfshrink.errors import UserError
from tfshrink.files import write_json

START = "start"  # the name of the prompts that need no text at all


def write_model_text(
    model,
    output,
    *,
    data=START,
    limit=256,
    max_new_tokens=256,
    prompt_length=16,
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    greedy_prefix=4,
    batch_size=16,
    dtype="float32",
    seed=0,
    resume=False,
    dry_run=False,
):
    """Lets a model write text and keeps it in a file.

    Args:
        model: What `--model` takes.
        output: File, `.jsonl` or `.tfrecord`.
        data: `"start"`: each row begins with one random token (LLM-QAT);
            SQuAD: with `context + question`; any other text: with a random
            passage of it.
        limit: Rows in the finished file.
        max_new_tokens: New tokens of a row at most.
        prompt_length: Tokens of a passage.
        temperature: Of sampling; 0 is greedy.
        top_p: Nucleus sampling; 1 keeps all.
        top_k: Samples among the k likeliest; 0 keeps all.
        greedy_prefix: New tokens that are the likeliest ones, before
            sampling begins (LLM-QAT: 3 to 5).
        batch_size: Rows made at once.
        dtype: Compute type, `"float32"` or `"bfloat16"`.
        seed: Integer ≥ 0.
        resume: Goes on where an earlier run stopped.
        dry_run: Makes one batch, measures it and writes nothing.

    Returns:
        Dict for people and programs: what was made, where, how fast.

    Raises:
        UserError: Anything the flags got wrong, before the model is loaded
            where that can be known.
    """
    from tfshrink.models.sources import open_source

    source = open_source(model)
    tokenizer = source.tokenizer()
    sampling = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "greedy_prefix": greedy_prefix,
    }
    room = source.config.context - max_new_tokens
    if max_new_tokens < 1 or room < 1:
        raise UserError(
            "`max_new_tokens` must be between 1 and "
            f"{source.config.context - 1}, the context of {model} less one. "
            f"Received: {max_new_tokens}"
        )
    prompts, identity = make_prompts(
        data,
        tokenizer,
        source.config,
        seed=seed,
        length=prompt_length,
        room=room,
    )
    settings = {
        "model": source.identity,
        "data": data,
        "text": identity,
        "prompt_length": prompt_length,
        "dtype": dtype,
        **sampling,
    }
    generate = _sampler(source, tokenizer, sampling, dtype)
    start = time.monotonic()
    if dry_run:
        summary = _try_one_batch(generate, prompts, batch_size, seed)
    else:
        with progress_bar("Generating", limit) as progress:
            summary = generate_text(
                generate,
                prompts,
                output,
                count=limit,
                batch_size=batch_size,
                seed=seed,
                settings=settings,
                resume=resume,
                decode=lambda tokens: tokenizer.decode(
                    tokens, skip_special_tokens=True
                ),
                progress=progress,
            )
    seconds = time.monotonic() - start
    return {
        **summary,
        "dry_run": dry_run,
        "seconds": seconds,
        "expected_seconds": seconds * limit / batch_size if dry_run else None,
        "tokens_per_second": summary["new_tokens"] / seconds,
        "output": output,
        "settings": settings,
    }


def print_choices():
    """Prints what `--data` takes."""
    print(f"{START:<8}one random token a row, no text needed")
    for name, meaning in SOURCES.items():
        print(f"{name:<8}{meaning}")


def print_summary(summary, path=None):
    """Prints what was done and the next command; writes it as JSON too.

    Args:
        summary: What `write_model_text` returned.
        path: JSON file, or `None`.
    """
    if path:
        write_json(path, summary)
    made = (
        f"{summary['new_rows']} rows, {summary['new_tokens']} tokens in "
        f"{summary['seconds']:.1f} s "
        f"({summary['tokens_per_second']:.0f} tokens/s)"
    )
    if summary["dry_run"]:
        print(f"Dry run: {made}, nothing written.")
        print(f"All rows would take {summary['expected_seconds']:.0f} s.")
        return
    print(f"Wrote {made}. {summary['output']} holds {summary['rows']} rows.")
    print(f"Next: bin/train --data={summary['output']}")


def make_prompts(data, tokenizer, config, *, seed, length, room):
    """Returns (prompts, hash of the text they come from).

    Args:
        data: As for `write_model_text`.
        tokenizer: The model's tokenizer.
        config: `DecoderConfig`.
        seed: Integer ≥ 0.
        length: Tokens of a passage.
        room: Tokens that any prompt may have at most.

    Returns:
        A callable from a row's number to its prompt, and a SHA-256 (`None`
        where no text is read).
    """
    if data == START:
        size = min(len(tokenizer), config.vocabulary)
        special = tokenizer.all_special_ids
        return start_prompts(size, seed=seed, exclude=special), None
    if is_squad(data):
        questions = load_squad(None if data == "squad" else data)
        texts = list(map(generation_prompt, questions))
        lists = tokenize(texts, tokenizer)
        prompts = listed_prompts(lists, seed=seed, length=room)
    else:
        texts = load_documents(data)
        lists = tokenize(texts, tokenizer)
        length = min(length, room)
        prompts = text_prompts(lists, seed=seed, length=length)
    return prompts, text_identity(texts)


def _sampler(source, tokenizer, sampling, dtype):
    """Returns `generate(prompts, seed)`; the model loads on first use."""
    made = []

    def generate(prompts, seed):
        if not made:
            from tfshrink.models.generation import Generator
            from tfshrink.models.load import load_model

            model = load_model(source, dtype=dtype)
            made.append(Generator(model, tokenizer))
        return made[0].generate(prompts, seed=seed, **sampling)

    return generate


def _try_one_batch(generate, prompts, batch_size, seed):
    rows = [prompts(index) for index in range(batch_size)]
    new = generate(rows, batch_seed(seed, 0))
    tokens = sum(map(len, new))
    return {"rows": 0, "new_rows": batch_size, "new_tokens": tokens}
