"""What measured figures say to do next: rules, and nothing but the figures.

A rule is a pure function of the results of one subject. It returns a dict of
`text`, `next` and `figures`, those that it rests on, or `None`: where its
figures are missing, or say nothing, it is silent.
"""

from tfshrink.analysis.insights import cycle_rules
from tfshrink.analysis.insights import plan_rules
from tfshrink.analysis.insights import robustness_rules
from tfshrink.analysis.insights import size_rules
from tfshrink.analysis.insights import time_rules

RULES = {
    "smallest_good_plan": plan_rules.smallest_good_plan,
    "no_good_plan": plan_rules.no_good_plan,
    "bits_without_bytes": size_rules.bits_without_bytes,
    "quality_cliff": plan_rules.quality_cliff,
    "mixed_bits_win": plan_rules.mixed_bits_win,
    "embedding_dominates": size_rules.embedding_dominates,
    "adapters_dominate": size_rules.adapters_dominate,
    "few_groups_mind": size_rules.few_groups_mind,
    "simulation_saves_no_time": time_rules.simulation_saves_no_time,
    "long_tail": time_rules.long_tail,
    "noisy_times": time_rules.noisy_times,
    "head_takes_long": time_rules.head_takes_long,
    "too_little_text": time_rules.too_little_text,
    "still_learning": cycle_rules.still_learning,
    "forgets_high_precision": cycle_rules.forgets_high_precision,
    "low_precision_stalls": cycle_rules.low_precision_stalls,
    "attacks_hurt_more": robustness_rules.attacks_hurt_more,
    "random_precision_defends": robustness_rules.random_precision_defends,
    "attack_no_worse_than_noise": robustness_rules.attack_no_worse_than_noise,
}


def insights_of(subject):
    """Applies all rules to the results of one subject.

    Args:
        subject: Dict of `ModelAnalyzer.results`.

    Returns:
        List of dicts: `rule`, `text`, `next`, `figures`.
    """
    found = {name: rule(subject) for name, rule in RULES.items()}
    return [{"rule": name, **own} for name, own in found.items() if own]
