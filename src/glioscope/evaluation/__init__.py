"""Evaluation: cases to scores to tables, under protocols that are data.

`protocols` reads what a year's challenge scored, `pairs` finds and reads label maps, `scoring` applies the first to the
second, `tables` sums up over cases, `comparison` sets methods side by side, `evaluating` does all
of it for folders of files.
"""

from glioscope.evaluation.comparison import (
    Comparison,
    Difference,
    as_csv,
    as_latex,
    as_markdown,
    compare_methods,
    write_comparison,
)
from glioscope.evaluation.evaluating import (
    DEFAULT_PROTOCOLS,
    Evaluation,
    evaluate,
    evaluate_pair,
    golden_profiles,
    pair_as_json,
    write_evaluation,
)
from glioscope.evaluation.pairs import PairFiles, find_pairs
from glioscope.evaluation.protocols import Protocol, builtin_protocols, read_protocol
from glioscope.evaluation.scoring import LabelPair, RegionScores, score_pair
from glioscope.evaluation.summary import EvaluationSummary, read_evaluation
from glioscope.evaluation.tables import MetricSummary, read_rows, summarise

__all__ = [
    "DEFAULT_PROTOCOLS",
    "Comparison",
    "Difference",
    "Evaluation",
    "EvaluationSummary",
    "LabelPair",
    "MetricSummary",
    "PairFiles",
    "Protocol",
    "RegionScores",
    "as_csv",
    "as_latex",
    "as_markdown",
    "builtin_protocols",
    "compare_methods",
    "evaluate",
    "evaluate_pair",
    "find_pairs",
    "golden_profiles",
    "pair_as_json",
    "read_evaluation",
    "read_protocol",
    "read_rows",
    "score_pair",
    "summarise",
    "write_comparison",
    "write_evaluation",
]
