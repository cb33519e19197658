"""A backbone with a head, of which a mode trains some parameters; and the cut between what is frozen and what is not.

In: a `Backbone` and a mode. Out: a network from images, or from activations, to logits.
"""
