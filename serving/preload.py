"""What workers are forked from: everything is imported once, before any thread runs, and shared by all of them.

Nothing may be computed here: Polars' and FAISS' threads would not be there in a forked process.
"""

import gc

import serving.member  # noqa: F401

# A collection in a worker would write to every page that holds one of these objects, and so make it its own.
gc.collect()
gc.freeze()
