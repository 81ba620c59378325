"""How well a translation fits its reference, one idea a file.

`overlap` counts voxels of labels, `surfaces` measures distances between them, `intensity` the
differences of volumes and `structure` their structural similarity; `images` does all of it for
two images on one grid. Without pairs, `selfsimilarity` holds a translation against its own input,
`histograms` and `distributions` hold sets of images against each other, the latter by features
that `extractors` make. Counts and sums can be added, so that slices, patches and subjects are
pooled before a quotient is taken.
"""

from DeepTranslateLib.engine.metrics.overlap import DiceCounter, mean_of_known

__all__ = ["DiceCounter", "mean_of_known"]
