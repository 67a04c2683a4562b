"""Tell whether something that is not the content of an image gives its class away: size, file format, a border."""

from dataclasses import dataclass

import numpy as np

from cnnlab.auditing.survey import Survey

DEPTH, FOLDS, DRAWS = 2, 5, 9_999
LEVEL = 0.001  # largest p of a shortcut: many properties are tried
LIFT = 1.5  # least accuracy of a shortcut, in multiples of chance: of very many images, any trifle is significant


@dataclass(frozen=True)
class Shortcut:
    """Hold how well a property of the files predicts the class by itself."""

    property: str
    accuracy: float  # balanced accuracy on images that the tree did not learn, in [0, 1]
    chance: float  # 1 / number of classes
    p: float  # probability of such an accuracy or a higher one if the property had nothing to do with the class
    rule: str  # the tree, in words
    found: bool  # whether it is a shortcut


def find_shortcuts(found: Survey) -> list[Shortcut]:
    """Return each property that is not the same for all images, the most telling first.

    A decision tree of depth 2 learns the classes of four fifths of the training images from the property, and predicts
    those of the others. Its balanced accuracy is compared with what the same predictions reach for shuffled labels.
    """
    from sklearn.tree import DecisionTreeClassifier, export_text

    learned = np.arange(len(found)) < len(found.data.train)
    labels = found.labels[learned]
    counts = np.bincount(labels)
    if (counts > 0).sum() < 2:
        return []
    results = []
    for name, columns in _properties(found).items():
        columns = {key: values[learned] for key, values in columns.items() if np.ptp(values[learned]) > 0}
        if not columns:
            continue
        table = np.stack(list(columns.values()), 1)
        tree = DecisionTreeClassifier(
            max_depth=DEPTH, class_weight="balanced", min_samples_leaf=max(2, len(labels) // 200), random_state=0
        )
        folds, predicted = _folds(labels), np.empty_like(labels)
        for fold in range(FOLDS):
            if (folds == fold).any():
                predicted[folds == fold] = tree.fit(table[folds != fold], labels[folds != fold]).predict(
                    table[folds == fold]
                )
        accuracy, p = beyond_chance(predicted, labels)
        rule = export_text(tree.fit(table, labels), feature_names=list(columns), decimals=1, show_weights=False)
        for number in np.unique(labels)[::-1]:
            rule = rule.replace(f"class: {number}\n", f"{found.data.classes[number]}\n")
        chance = 1 / int((counts > 0).sum())
        results.append(Shortcut(name, accuracy, chance, p, rule, bool(p <= LEVEL and accuracy >= LIFT * chance)))
    return sorted(results, key=lambda one: (-one.found, -one.accuracy))


def beyond_chance(predicted: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the balanced accuracy of predictions, and p of a permutation test.

    Shuffled labels give tables of predictions and labels with the same sums of rows and columns; 9,999 such tables are
    drawn, so p is 0.0001 at least.
    """
    from scipy.stats import random_table

    names, both = np.unique(np.concatenate([predicted, labels]), return_inverse=True)
    table = np.zeros((len(names), len(names)), int)
    np.add.at(table, (both[len(labels) :], both[: len(labels)]), 1)
    sizes = table.sum(1)
    drawn = random_table(sizes, table.sum(0), seed=0).rvs(DRAWS)
    weights = np.where(sizes > 0, 1 / np.maximum(sizes, 1), 0) / (sizes > 0).sum()
    accuracy = float(table.diagonal() @ weights)
    chances = drawn.diagonal(axis1=1, axis2=2) @ weights
    return accuracy, float((1 + (chances >= accuracy - 1e-12).sum()) / (1 + DRAWS))


def _folds(labels: np.ndarray) -> np.ndarray:
    """Return a fold for each image, with equally many of each class, by a fixed shuffle."""
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[labels[order].argsort(kind="stable")]
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def _properties(found: Survey) -> dict[str, dict[str, np.ndarray]]:
    """Return the columns that the tree may ask about, by property."""
    numbers = found.numbers
    kinds = {f"{kind} file": (found.forms == kind).astype(np.float32) for kind in np.unique(found.forms)}
    size = {
        "width": numbers["width"],
        "height": numbers["height"],
        "width / height": numbers["width"] / numbers["height"],
    }
    return {
        "size in pixels": size,
        "format and colour mode": kinds,
        "size of the file": {"bytes per pixel": numbers["bytes"] / (numbers["width"] * numbers["height"])},
        "plain border": {"border": numbers["border"], "border brightness": numbers["border_brightness"]},
    }
