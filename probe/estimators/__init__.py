"""The probes as scikit-learn estimators; numpy and scikit-learn alone.

In: X and y. Out: fitted estimators with `predict_proba`.
"""
