"""What every page is made of: theme, text, tables, figures, HTML.

In: numbers and names. Out: strings, SVG and HTML.
"""
