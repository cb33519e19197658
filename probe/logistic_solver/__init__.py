"""Many logistic regressions at once: the same rows, other weights, targets and penalties.

In: rows of features, and for each problem its weights, its targets and its C. Out: the optimum of scikit-learn's
objective for each, with how far from it the solver stopped. Knows nothing of seeds, manifests or metrics.
"""
