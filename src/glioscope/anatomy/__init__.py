"""Where a tumour lies: lobes, structures, distances, crossings, eloquent areas, VASARI features.

Inside, in order of dependence: `parts` (names, the map), `atlas` (the average brain), `records` (what is said),
`locate` (one mask), `vasari`, `describe` (all of a case), `placing` (the map laid over a case), `case` (all of it).
"""
