"""Real configuration that lies beside the checkout; a test that finds none skips by name."""

import glob
import os
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def corpus_dir():
    return os.path.abspath(os.environ.get("WEFT_CORPUS") or
                           os.path.join(ROOT, "..", "shared", "corpus"))


def files(sub, pattern="*.yaml"):
    """The files of a folder of the corpus, sorted."""
    found = sorted(glob.glob(os.path.join(corpus_dir(), sub, pattern)))
    if not found:
        raise unittest.SkipTest(f"corpus: {sub}: not here (WEFT_CORPUS={corpus_dir()})")
    return found


BOOKINFO = "istio/samples/bookinfo/networking"


def bookinfo(name=None):
    """All of bookinfo's networking files, or the path of one."""
    found = files(BOOKINFO)
    if name is None:
        return found
    for path in found:
        if os.path.basename(path) == name:
            return path
    raise unittest.SkipTest(f"corpus: {BOOKINFO}/{name}: not here")
