"""Where a tumour lies: lobes, structures, distances, crossings, eloquent areas, VASARI features; and the text of it.

    images, brain, labels ──place_case──▶ PlacedCase ──▶ Anatomy, a drawing, a margin
    Anatomy ──report_text──▶ Text ──diagnostic_report──▶ FHIR

Inside, in order of dependence: `parts` (names, the map), `atlas` (the average brain), `locate` (one mask), `vasari`,
`describe` (all of a case), `placing` (the map laid over a case), `margins`, `sketch`, `case` (all of it), `phrases` and
`wording` (sentences), `fhir`. The records stand in `results.anatomy`.
"""
