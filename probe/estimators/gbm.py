"""Gradient-boosted trees on frozen embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import eigh
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.utils.extmath import randomized_svd
from sklearn.utils.validation import check_is_fitted

from ._validation import MultilabelMixin, checked_pair, checked_rows, encode_labels, require_one_of, require_whole

if TYPE_CHECKING:
    import lightgbm as lgb

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Dense embeddings carry a little of everything in every column, which axis-parallel cuts use badly; their leading
    # principal components are few and independent, so that shallow trees on some of them do better in a tenth of the
    # time. A number of columns a tree rather than a share: of the few components that few rows have a share is too few.
    # One random cut a column and node (extremely randomised trees; Geurts et al. 2006) rather than the best of all
    # keeps the trees from following the noise. Splits that gain nothing are left out. docs/performance.md has what was
    # tried.
    "dense": {
        "components": 192,
        "columns": 40,
        "learning_rate": 0.2,
        "num_leaves": 15,
        "max_depth": 4,
        "max_bin": 31,
        "bin_construct_sample_cnt": 1000,
        "extra_trees": True,
        "min_gain_to_split": 0.02,
        "refit_continues_from": 2000,
    },
    "lightgbm-defaults": {"components": None, "columns": None},
}
"""LightGBM's settings by preset; `components` of the PCA, or None for the features as they are; the most `columns` that
a tree looks at, or None for all; and the training rows from which a refit continues, since components of that many rows
serve other rows as well."""
_ROUNDING = 100
"""Variances below so many times the float's precision, of the largest one, are errors of rounding."""
_BLOCK = 4096
"""Rows that are copied at a time."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows of `X`, all by default, which are read a block at a time and never copied together."""

    X: np.ndarray
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All in order: which ones, and (m, D) the rows themselves."""
        for start in range(0, len(self), _BLOCK):
            part = slice(start, min(start + _BLOCK, len(self)))
            yield part, self.X[part if self.rows is None else self.rows[part]]

    def numbers(self) -> np.ndarray:
        """(n,) which rows of `X`."""
        return np.arange(len(self.X)) if self.rows is None else self.rows

    def together(self) -> np.ndarray:
        """(n, D)."""
        return self.X if self.rows is None else self.X[self.rows]


class GBMProbe(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """LightGBM, with a preset made for dense embeddings; one booster a label for multilabel.

    Parameters
    ----------
    preset : {"dense", "lightgbm-defaults"}, default="dense"
        "dense": PCA to at most 192 whitened components, fitted on the training rows, then shallow trees of random
        cuts on few bins, without splits that gain next to nothing.
        "lightgbm-defaults": LightGBM's own settings on the features as they are, but for the rounds, which are
        `n_estimators` and end early as in "dense"; LightGBM's own number is 100.
    n_estimators : int, default=300
        Rounds of boosting; the most of them where there is an `eval_set`.
    early_stopping_rounds : int, default=10
        With an `eval_set`: stop when its log-loss has not fallen for so many rounds, and keep the best.
    random_state : int, default=0
        Seeds the PCA and the drawing of columns and cuts.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
    pca_ : sklearn.decomposition.PCA or None
    boosters_ : list
        LightGBM boosters: one, or one a label (for a label that is the same in every row, its share of them: 0 or 1).
    rounds_ : list of int
        Rounds that were found for each; 0 for a label that is the same in every training row.
    eval_proba_ : ndarray of shape (n_eval, n_classes)
        Probabilities of the `eval_set` before anything was learnt from it; None without one.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from medprobe.probe import GBMProbe
    >>> X, y = make_classification(random_state=0)
    >>> GBMProbe(n_estimators=20).fit(X, y).score(X, y) > 0.9
    True
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(
        self,
        preset: str = "dense",
        *,
        n_estimators: int = 300,
        early_stopping_rounds: int = 10,
        random_state: int = 0,
    ) -> None:
        self.preset = preset
        self.n_estimators = n_estimators
        self.early_stopping_rounds = early_stopping_rounds
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        eval_set: tuple[Any, Any] | np.ndarray | None = None,
        *,
        rows: np.ndarray | None = None,
        refit: bool = False,
    ) -> GBMProbe:
        """Fits to `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels).

        Parameters
        ----------
        X, y : array-like
            Training rows and labels.
        eval_set : tuple of array-like, or ndarray of int, default=None
            Rows and labels that say when to stop, or which rows of `X` do; every class of theirs must occur among the
            training labels.
        rows : ndarray of int, default=None
            Which rows of `X` to fit to, as `X[rows]` without a copy of them; all by default.
        refit : bool, default=False
            Once the rounds are found, learn from the `eval_set` too, which must be row numbers. Under "dense" with at
            least 2,000 training rows, twice those of the `eval_set` or more, boosting continues: components, bins and
            trees remain, and all rows are learnt from in further rounds, half of those found for a quarter of new
            rows. The rows of the `eval_set` then have weight 0 until the rounds are found, and count as rows of a leaf.
            Otherwise everything is fitted again to all rows, with the rounds that were found.
        """
        require_one_of("preset", self.preset, PRESETS)
        require_whole("n_estimators", self.n_estimators)
        require_whole("early_stopping_rounds", self.early_stopping_rounds)
        require_whole("random_state", self.random_state, least=0)
        if refit and not isinstance(eval_set, np.ndarray):
            raise ValueError("refit needs an eval_set of row numbers of X")
        X, y = checked_pair(self, X, y, ensure_min_samples=2)
        learnt, labels = _Rows(X, rows), y
        y, self.classes_, self.multilabel_ = encode_labels(self, y if rows is None else y[rows])
        held_out = None
        if isinstance(eval_set, np.ndarray):
            held_out = _Rows(X, eval_set), self._encoded(labels[eval_set])
        elif eval_set is not None:
            held_out = checked_pair(self, *eval_set, reset=False)
            held_out = _Rows(held_out[0]), self._encoded(held_out[1])
        most = [self.n_estimators] * (y.shape[1] if self.multilabel_ else 1)
        self.eval_proba_: Any = None
        if held_out is None:
            self._boost(learnt, y, most)
            return self
        share = len(held_out[0]) / len(learnt)
        least = PRESETS[self.preset].get("refit_continues_from")
        continues = refit and least is not None and len(learnt) >= least and share <= 0.5
        data = self._boost(learnt, y, most, held_out, continues=continues)
        self.eval_proba_ = self._proba(held_out[0])
        if continues:
            self._continue(data, np.concatenate([y, held_out[1]]), share)
        elif refit:
            both = np.sort(np.r_[learnt.numbers(), held_out[0].numbers()])
            self._boost(_Rows(X, both), self._encoded(labels[both]), self.rounds_)
        return self

    def _encoded(self, y: np.ndarray) -> np.ndarray:
        if self.multilabel_:
            return y.astype(np.int8)
        codes = np.searchsorted(self.classes_, y)
        if not np.array_equal(self.classes_[np.minimum(codes, len(self.classes_) - 1)], y):
            raise ValueError("eval_set holds a class that the training labels do not")
        return codes

    def _boost(
        self,
        learnt: _Rows,
        y: np.ndarray,
        rounds: list[int],
        held_out: tuple[_Rows, np.ndarray] | None = None,
        *,
        continues: bool = False,
    ) -> lgb.Dataset:
        """Fits components and boosters; gives the rows as they were learnt from.

        With `continues` these end in the rows that are held out, with no weight yet: to score them with the trees that
        there are takes longer than to let them follow along.
        """
        import lightgbm as lgb  # here, since it takes as long to import as all else together

        self.boosters_, self.rounds_ = [], []  # which hold the rows that they were fitted to
        components = PRESETS[self.preset]["components"]
        self.pca_ = None if components is None else _fit_pca(learnt, components, self.random_state)
        rows, classes = len(learnt), 2 if self.multilabel_ else len(self.classes_)
        if continues and held_out is not None:
            learnt = _Rows(learnt.X, np.r_[learnt.numbers(), held_out[0].numbers()])
            y = np.concatenate([y, held_out[1]])
        features = self._features(learnt)
        settings, bins, watched = self._settings(rows, features.shape[1], classes), None, None
        if continues:
            some = np.random.default_rng(self.random_state).permutation(rows)[: settings["bin_construct_sample_cnt"]]
            bins = lgb.Dataset(features[some], params=settings)
        data = lgb.Dataset(features, params=settings, reference=bins)  # cut once, learnt from once a label
        del features
        if held_out is not None:
            watched = lgb.Dataset(self._features(held_out[0]), reference=data)
        for label, most in enumerate(rounds):
            target = y[:, label] if self.multilabel_ else y
            if most == 0 or (target[:rows] == target[0]).all():
                self.boosters_.append(float(target[:rows].mean()))
                self.rounds_.append(0)
                continue
            data.set_label(target)
            data.set_weight((np.arange(len(target)) < rows).astype(np.float32))
            how: dict[str, Any] = {}
            if watched is not None and held_out is not None:
                watched.set_label(held_out[1][:, label] if self.multilabel_ else held_out[1])
                stop = lgb.early_stopping(self.early_stopping_rounds, verbose=False)
                how = {"valid_sets": [watched], "callbacks": [stop]}
            # Kept as it is where that takes little memory: otherwise it is written as text and read again, for a tenth
            # of the time.
            booster = lgb.train(settings, data, most, keep_training_booster=self.preset == "dense", **how)
            self.boosters_.append(booster)
            self.rounds_.append(booster.best_iteration or most)
        return data

    def _continue(self, data: lgb.Dataset, y: np.ndarray, share: float) -> None:
        """Further rounds, twice the share of new rows of those that were found, in which all rows have their weight."""
        for label, (booster, found) in enumerate(zip(self.boosters_, self.rounds_, strict=True)):
            target = y[:, label] if self.multilabel_ else y
            if isinstance(booster, float):
                self.boosters_[label] = float(target.mean())
                continue
            while booster.current_iteration() > found:
                booster.rollback_one_iter()
            data.set_label(target)
            data.set_field("weight", np.ones(len(target)))  # set_weight keeps the earlier ones where all are 1
            more = max(1, round(2 * share * found))
            for _ in range(more):
                booster.update(data)
            booster.best_iteration = found + more

    def _settings(self, rows: int, columns: int, classes: int) -> dict[str, Any]:
        """LightGBM's; one thread and one histogram layout, so that the trees do not depend on the machine's load."""
        settings = {**PRESETS[self.preset], "seed": self.random_state}
        del settings["components"]
        settings.pop("refit_continues_from", None)
        most = settings.pop("columns")
        if most is not None:
            settings["feature_fraction"] = min(1.0, most / columns)
        if self.preset == "dense":
            settings["min_data_in_leaf"] = int(np.clip(rows // (10 * classes), 1, 20))
        objective = {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
        return {**settings, **objective, "num_threads": 1, "deterministic": True, "force_col_wise": True, "verbose": -1}

    def _features(self, some: _Rows) -> np.ndarray:
        if self.pca_ is None:
            return some.together()
        features = np.empty((len(some), self.pca_.n_components_), some.X.dtype)
        for part, block in some.blocks():
            features[part] = self.pca_.transform(block)
        return features

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes); for multilabel, the probability of each label."""
        check_is_fitted(self)
        return self._proba(_Rows(checked_rows(self, X)))

    def _proba(self, some: _Rows) -> np.ndarray:
        features = self._features(some)
        columns = [
            np.full(len(features), one) if isinstance(one, float) else np.asarray(one.predict(features, num_threads=1))
            for one in self.boosters_
        ]
        if self.multilabel_:
            return np.stack(columns, axis=1)
        return columns[0] if columns[0].ndim == 2 else np.stack([1 - columns[0], columns[0]], axis=1)


def _fit_pca(some: _Rows, most: int, seed: int) -> PCA:
    """The leading components, without those that are rounding alone.

    They are eigenvectors of the products of columns, or of rows where these are fewer, which takes a fraction of the
    time of a decomposition of the rows. The solver follows from the shape alone.

    Constant or dependent columns leave components of no variance; whitened, they would be noise as large as the rest,
    and another noise on every machine.
    """
    rows, columns, dtype = len(some), some.X.shape[1], some.X.dtype
    mean = np.zeros(columns)
    for _, block in some.blocks():
        mean += block.sum(axis=0, dtype=np.float64) / rows
    mean, wide = mean.astype(dtype), rows <= columns
    centred = some.together() - mean if wide else np.empty(0, dtype)
    products = centred @ centred.T if wide else np.zeros((columns, columns), dtype)
    for _, block in some.blocks() if not wide else ():
        from_mean = block - mean
        products += from_mean.T @ from_mean
    count = min(most, rows - 1, columns)
    if len(products) > 8 * count:
        vectors, values, _ = randomized_svd(products, count, random_state=seed)
    else:
        first = len(products) - count
        values, vectors = eigh(products, subset_by_index=(first, len(products) - 1), check_finite=False)
        values, vectors = values[::-1], vectors[:, ::-1]
    real = max(1, int((values > _ROUNDING * np.finfo(values.dtype).eps * values[0]).sum()))
    values, components = values[:real], vectors[:, :real].T
    if wide:
        components = components @ centred
        components /= np.maximum(np.linalg.norm(components, axis=1, keepdims=True), np.finfo(dtype).tiny)
    components *= np.sign(components[np.arange(real), np.abs(components).argmax(axis=1), None])
    return pca_of(components=components, mean=mean, explained_variance=np.maximum(values, 0) / (rows - 1))


def pca_of(**attributes: np.ndarray) -> PCA:
    """scikit-learn's whitening PCA with the given `components`, `mean` and `explained_variance`."""
    pca = PCA(len(attributes["components"]), whiten=True)
    pca.n_components_, columns = attributes["components"].shape
    for name, value in {"n_features_in": columns, **attributes}.items():
        setattr(pca, f"{name}_", value)
    return pca
