"""What a network is trained on: images, fixed augmented views of them, or activations of the frozen part.

In: sources of images. Out: tensors by row and view.
"""
