"""How often the agreement report is right, on votes whose truth is known.

    python -m benchmarks.agreement_study [--repeats 40]

Three tables: who is pointed out (one of eight annotators at random, one who clicks straight on, one who keeps every
prediction, five honest ones right in 85 of 100); how often posteriors and majorities find the truth (two of six
annotators at random); how often 95 % intervals hold it, BCa and percentiles, with the share of misses on either side.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from annotation.agreement import AgreementOptions, coefficients, measure, posteriors
from annotation.agreement.bootstrap import Bootstrap, bca_levels, sum_by
from annotation.agreement.ratings import encode
from benchmarks.machine import describe_machine, table
from benchmarks.simulated_votes import KINSHIP, Simulation, simulate

QUICK = AgreementOptions(rounds=200)
STATISTICS = {"alike": coefficients.percent, "alpha": coefficients.alpha, "AC1": coefficients.ac1}


def pointed_out(dyads: int, repeats: int) -> list[str]:
    """One row: shares of annotators that were found, and of honest ones that were blamed."""
    found = np.zeros(4)
    votes = 0.0
    for seed in range(repeats):
        made = simulate(
            Simulation(
                dyads=dyads, annotators=8, random=(1,), stamps=(2,), straight=(3,), right_predictions=0.8, seed=seed
            )
        )
        people = measure(made.votes, made.clips, QUICK).annotators
        honest = [*people[:1], *people[4:]]
        blamed = [one for one in honest if one.verdict not in ("ok", "unclear") or one.rubber_stamp]
        found += people[1].verdict == "random", people[3].verdict == "straight", people[2].rubber_stamp, len(blamed) / 5
        votes += np.mean([one.num_shared for one in people])
    return [f"{votes / repeats:.0f}", *(f"{share:.0%}" for share in found / repeats)]


def right_answers(repeats: int) -> list[str]:
    """One row: share of clips whose kinship the posterior and the majority get right; ties of votes fall either way."""
    model = majority = clips = 0
    for seed in range(repeats):
        made = simulate(Simulation(annotators=6, votes_per_clip=4, random=(1, 2), unsure=0.0, seed=seed))
        beliefs = posteriors(made.votes, made.clips)
        encoded = encode(made.votes, made.clips)
        ratings = encoded.ratings("kinship")
        noise = np.random.default_rng(seed).random((ratings.num_items, 2)) / 10
        winner = (ratings.counts()[:, :2] + noise).argmax(axis=1)
        for row, number in enumerate(ratings.clips.tolist()):
            clip_id = encoded.clip_ids[number]
            truth, belief = made.truth[clip_id]["kinship"], beliefs[clip_id]["kinship"]
            model += belief[truth] > 0.5
            majority += KINSHIP[winner[row]] == truth
            clips += 1
    return [f"{clips:,}", f"{model / clips:.1%}", f"{majority / clips:.1%}"]


def coverage(name: str, base: Simulation, repeats: int) -> list[list[str]]:
    """A row per statistic: how often the intervals of kinship hold what 20,000 dyads give."""

    def sums_of(simulation: Simulation) -> np.ndarray:
        made = simulate(simulation)
        ratings = encode(made.votes, made.clips).ratings("kinship")
        return sum_by(ratings.dyad, coefficients.item_sums(ratings.counts()), ratings.num_dyads)

    whole = sums_of(replace(base, dyads=20_000, seed=10**6)).sum(axis=0)
    hits = {statistic: np.zeros((2, 3)) for statistic in STATISTICS}
    for seed in range(repeats):
        sums = sums_of(replace(base, seed=seed))
        totals = Bootstrap(len(sums), 500, seed, 0.95).totals(sums)
        for statistic, function in STATISTICS.items():
            truth, value, rounds = float(function(whole)), float(function(sums.sum(axis=0))), function(totals)
            for row, jackknife in enumerate((function(sums.sum(axis=0) - sums), None)):
                low, high = np.quantile(rounds, bca_levels(value, rounds, jackknife, 0.95))
                hits[statistic][row] += low <= truth <= high, truth < low, truth > high
    return [
        [name, statistic, *(f"{held:.0%} ({below:.1%}, {above:.1%})" for held, below, above in found / repeats)]
        for statistic, found in hits.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=40, help="data sets of each kind; intervals take five times as many"
    )
    repeats = parser.parse_args().repeats
    print(describe_machine())
    rows = [["votes each", "random found", "straight found", "keeper found", "honest blamed"]]
    print(table(rows + [pointed_out(dyads, repeats) for dyads in (40, 80, 160)]) + "\n")
    print(table([["clips", "posterior right", "majority right"], right_answers(repeats // 2)]) + "\n")
    kinds = {
        "60 dyads": Simulation(gold=0.0),
        "25 dyads": Simulation(dyads=25, gold=0.0),
        "60 dyads, 8 % blood": Simulation(blood=0.08, accuracy=0.93, unsure=0.02, gold=0.0),
    }
    rows = [["votes", "statistic", "BCa (too high, too low)", "percentiles (too high, too low)"]]
    print(table(rows + [row for name, base in kinds.items() for row in coverage(name, base, 5 * repeats)]))


if __name__ == "__main__":
    main()
