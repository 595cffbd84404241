#!/usr/bin/env python3
"""Builds the API reference from the docstrings, without a network.

    python3 -m pip install -e '.[docs,deploy]'
    python3 docs/build.py

One HTML page a module, with a search, in out/api (or the folder named behind
the command).
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "out/api"


def build(folder, modules=("tfshrink",)):
    """Writes a page a module.

    Args:
        folder: Where to; what is there is replaced file by file.
        modules: Names; what lies below them is included.
    """
    import pdoc

    pdoc.render.configure(
        docformat="google",
        footer_text="tfshrink",
        show_source=False,
    )
    # What layers inherit of Keras is documented there.
    pdoc.doc.Class.inherited_members = {}
    pdoc.pdoc(*modules, output_directory=pathlib.Path(folder))


def main(arguments):
    """Builds into the folder that was typed, and says where it lies."""
    from tfshrink.quiet import quiet

    folder = arguments[0] if arguments else DEFAULT
    quiet()
    build(folder)
    print(f"API reference: {pathlib.Path(folder) / 'index.html'}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
