"""Columns of what searches and certificates say, printed or on a page."""

FRONT = {
    "name": "plan",
    "effective_bits": "bits",
    "bytes": "MB",
    "compression": "smaller",
    "kv": "K/V cache",
    "kv_bytes": "K/V MB",
    "exit": "exit",
    "layers": "layers",
    "read_bytes": "MB a token",
    "cost_ratio": "cheaper",
    "margin": "margin",
    "satisfied_share": "prompts satisfied",
    "perplexity_ratio": "perplexity",
}
VIOLATIONS = {
    "plan": "plan",
    "property": "property",
    "violations": "violations",
    "rate": "rate",
    "bound": "rate is below",
    "median_margin": "median margin",
    "worst_margin": "worst margin",
}
