"""The library that runs LiteRT files, which is an extra of tfshrink."""

import importlib.util

from tfshrink.errors import UserError


def require_litert():
    """Raises a `UserError` that says what to install where it is missing."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise UserError(
            "LiteRT files need ai-edge-litert, which is not installed: "
            "python3 -m pip install -e '.[deploy]'"
        )
