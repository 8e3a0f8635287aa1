"""Scores tokenised captions with pycocoevalcap 1.2 (numpy alone, no Java).

Reads one JSON document from stdin, {"candidates": ["a dog", ...], "references": [["a dog", "the dog"], ...]}, whose
sentences are words joined by single spaces, and prints {"Bleu": [..4], "Rouge": .., "Cider": ..}.
"""

import contextlib
import json
import sys

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge


def main():
    document = json.load(sys.stdin)
    candidates = {i: [sentence] for i, sentence in enumerate(document["candidates"])}
    references = dict(enumerate(document["references"]))
    # The package prints counts while it works; stdout is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        scores = {
            "Bleu": [float(score) for score in Bleu(4).compute_score(references, candidates)[0]],
            "Rouge": float(Rouge().compute_score(references, candidates)[0]),
            "Cider": float(Cider().compute_score(references, candidates)[0]),
        }
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    main()
