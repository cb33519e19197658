"""What a manifest may hold: card, columns, labels, groups, units, intensity policy.

In: a table and a card. Out: typed columns, label codes, units.
"""
