"""Project the features of images to a plane."""

import numpy as np

PERPLEXITY = 30.0  # roughly the number of neighbours that an image has: scikit-learn's default
COMPONENTS = 50  # principal components that t-SNE starts from, as in van der Maaten and Hinton 2008
FEWEST_IMAGES = 8
METHOD = "t-SNE"


def map_to_plane(features: np.ndarray) -> np.ndarray:
    """Place images with similar features near each other.

    Applies t-SNE (van der Maaten and Hinton 2008) to the first 50 principal components, starting from the first two.
    The result is deterministic. Neighbourhoods mean something, distances between groups do not.

    Args:
        features: float32 (N, F); some thousand images take seconds.

    Returns:
        float32 (N, 2).

    Raises:
        ValueError: for fewer than eight images.
    """
    if len(features) < FEWEST_IMAGES:
        raise ValueError(f"a map needs {FEWEST_IMAGES} images or more, got {len(features)}")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(COMPONENTS, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if components > 1 else "random"
    return TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(reduced)
