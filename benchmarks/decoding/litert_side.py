"""tfshrink's side of benchmarks/decode.py: an export, run by LiteRT.

    python benchmarks/decoding/litert_side.py \
        --model=saved_models/four --work=work.npz

Prints one line of JSON.
"""

import protocol

from tfshrink.deploy.artefact import Artefact
from tfshrink.deploy.litert.session import Session


def load(flags, longest):
    """The session of an export; it has the interface of a side."""
    artefact = Artefact(flags.model)
    return Session(
        artefact.path, artefact.metadata["config"], threads=flags.threads
    )


if __name__ == "__main__":
    options = protocol.parser(__doc__, "Folder of bin/export.").parse_args()
    protocol.run(options, load)
