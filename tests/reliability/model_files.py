"""Models: GGUF, Hugging Face, checkpoints, calibrations, policies."""

import numpy as np

from tests.reliability.shared_files import model
from tests.reliability.shared_files import tokenizer


def make_gguf(folder, case="llama_tied_gqa", kind="Q8_0"):
    from tests.golden.random_checkpoints import VOCABULARY
    from tests.models.sources.gguf_files import write_gguf
    from tfshrink.models.sources.byte_level import byte_letters

    words = [*byte_letters()[:VOCABULARY]]

    def edit(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("smollm")
        writer.add_token_list(words)
        writer.add_token_types([3, 4] + [1] * (len(words) - 2))
        writer.add_token_merges([])
        writer.add_chat_template("{{ messages }}")

    write_gguf(folder / "model.gguf", case, folder / "hf", kind=kind, edit=edit)


def read_source(path):
    from tfshrink.models.sources import open_source

    source = open_source(path)
    source.config.to_json()
    for _ in source.weights():
        pass
    source.tokenizer()


def make_huggingface(folder, case="llama", shards=1):
    from tests.golden.random_checkpoints import write_checkpoint

    write_checkpoint(folder, case, shards)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 3]}')
    tokenizer().save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)


def make_checkpoint(folder):
    from tfshrink.models.checkpoint import save_model

    save_model(folder / "final.safetensors", model(), {"step": 1})


def read_checkpoint(folder):
    from tfshrink.models.checkpoint import load_model_state

    load_model_state(folder / "final.safetensors", model())


def make_calibration(folder):
    from tests.layers.kv_stubs import statistics
    from tfshrink.models import kv_calibration
    from tfshrink.models.sources import open_source

    about = {
        "version": kv_calibration.VERSION,
        "model": open_source("tiny").identity,
        "data": "pydoc",
        "tokens": 12,
    }
    own = statistics(2, 32, 2)
    kv_calibration._write(folder / "kv.npz", own, about)


def read_calibration(folder):
    from tfshrink.kv_spec import KVSpec
    from tfshrink.models.kv_codecs import open_codecs
    from tfshrink.models.sources import open_source

    spec = KVSpec.parse(
        f"pca:2x:window=8:block=16:calibration={folder / 'kv.npz'}"
    )
    open_codecs(spec, open_source("tiny"), 512)


def make_policy(folder):
    from tfshrink.exit_policy import ExitPolicy

    random = np.random.default_rng(0)
    shapes = [(4, 3), (3,), (3, 1), (1,)]
    ExitPolicy(
        layers=(1, 2),
        reads=("margin",),
        center=(0.0,),
        spread=(1.0,),
        weights=tuple(random.normal(size=shape) for shape in shapes),
        made={"steps": 3},
    ).write(folder / "policy.json")


def read_policy(folder):
    from tfshrink.exit_policy import ExitPolicy

    policy = ExitPolicy.read(folder / "policy.json")
    policy.check((1, 2))
    _ = policy.reads_logits
