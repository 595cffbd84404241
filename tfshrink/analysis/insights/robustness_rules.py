"""Rules about attacks and random precision."""

from tfshrink.analysis.insights.figures import figure

ATTACKS = "fgsm", "pgd"


def attacks_hurt_more(subject):
    """A plan that attacks cost more than they cost full precision."""
    found = []
    for row in figure(subject, "robustness", "plans") or []:
        for own in row["conditions"]:
            rise = figure(own, "excess", "nats_rise")
            if own["kind"] in ATTACKS and rise:
                found.append((rise["interval"][0], row, own, rise))
    least, row, own, rise = max(
        found, key=lambda x: x[0], default=(0, None, None, None)
    )
    if least <= 0:
        return None
    low, high = rise["interval"]
    return {
        "text": f"{own['kind']} at {own['strength']} costs {row['name']} "
        f"{rise['value']:.3f} nats a token more than full precision (interval "
        f"{low:.3f} to {high:.3f}).",
        "next": "Where inputs are hostile take more bits, or train with random "
        "precision: bin/train --style=rpt.",
        "figures": {
            "plan": row["name"],
            "kind": own["kind"],
            "strength": own["strength"],
            "excess_nats": rise["value"],
            "interval": rise["interval"],
        },
    }


def random_precision_defends(subject):
    """Whether drawing the precision helps against one who knows of it."""
    drawn = (
        figure(subject, "robustness", "random_precision", "conditions") or []
    )
    for own in drawn:
        if own["attacker"] != "sampling" or own["kind"] != "pgd":
            continue
        rivals = [
            (row["name"], other["against_clean"]["nats_rise"])
            for row in figure(subject, "robustness", "plans") or []
            for other in row["conditions"]
            if (other["kind"], other["strength"]) == ("pgd", own["strength"])
        ]
        if not rivals:
            continue
        rise = own["against_clean"]["nats_rise"]
        name, best = min(rivals, key=lambda pair: pair[1]["value"])
        helps = rise["interval"][1] < best["interval"][0]
        says = "costs less" if helps else "is not shown to cost less"
        return {
            "text": f"pgd at {own['strength']} by one who samples precisions "
            f"{says} against random precision, {rise['value']:.3f} nats a "
            f"token, than against {name} alone, {best['value']:.3f}.",
            "next": "Draw a plan for each request."
            if helps
            else "Do not count random precision as a defence here.",
            "figures": {
                "strength": own["strength"],
                "random_precision": rise,
                name: best,
            },
        }
    return None


def attack_no_worse_than_noise(subject):
    """An attack that does no more than random signs of its size."""
    for row in figure(subject, "robustness", "plans") or []:
        own = {(x["kind"], x["strength"]): x for x in row["conditions"]}
        for (kind, strength), attack in own.items():
            noise = own.get(("random_signs", strength))
            if kind not in ATTACKS or noise is None:
                continue
            rises = [x["against_clean"]["nats_rise"] for x in (attack, noise)]
            if rises[0]["interval"][0] <= rises[1]["interval"][1]:
                return {
                    "text": f"{kind} at {strength} costs {row['name']} no more "
                    f"than random signs of that size, {rises[0]['value']:.3f} "
                    f"for {rises[1]['value']:.3f} nats a token: the attack "
                    "shows nothing.",
                    "next": "Attack harder (more steps, larger strength) "
                    "before calling the plan robust.",
                    "figures": {
                        "plan": row["name"],
                        "strength": strength,
                        kind: rises[0],
                        "random_signs": rises[1],
                    },
                }
    return None
