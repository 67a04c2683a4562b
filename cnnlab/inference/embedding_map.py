"""What a network's last hidden layer makes of images, brought to a plane that can be looked at."""

import numpy as np

PERPLEXITY = 30.0  # how many neighbours of an image count, about: scikit-learn's default
COMPONENTS = 50  # that t-SNE is given, as van der Maaten and Hinton 2008 do it
FEWEST = 8  # images
METHOD = "t-SNE"


def map_to_plane(features: np.ndarray) -> np.ndarray:
    """Places for images such that those which look alike to the network lie near each other.

    By t-SNE (van der Maaten and Hinton 2008) of the first 50 principal components, started from the first two. The same
    features give the same map. Neighbourhoods mean something, distances between groups do not.

    Args:
        features: float32 (N, F); takes seconds for some thousand images.

    Returns:
        float32 (N, 2).

    Raises:
        ValueError: for fewer than eight images: they have no neighbourhoods.
    """
    if len(features) < FEWEST:
        raise ValueError(f"a map needs {FEWEST} images or more, got {len(features)}")
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(COMPONENTS, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    start = "pca" if components > 1 else "random"
    return TSNE(2, perplexity=perplexity, init=start, random_state=0).fit_transform(reduced)
