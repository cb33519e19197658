"""Text for the terminal: tables, wrapped paragraphs, numbers.

In: values. Out: printed text.
"""
