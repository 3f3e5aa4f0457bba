"""The labelling loop in figures.

    python -m benchmarks.label agreement [--votes 100000]
    RSAT_LABEL_SERVER=.venv-label/bin/label-studio python -m benchmarks.label server [--clips 1000] [--voters 3]

``agreement``: the whole report on made votes (20 annotators, 5,000 dyads, 30,000 clips), and its parts beside
well-known packages that compute the same, in the same process: krippendorff in a loop that draws dyads, scikit-learn's
cohen_kappa_score pair by pair, crowd-kit's DawidSkene. What a package needs for all rounds is reckoned from a few.

``server``: push and pull against a real label server; see `benchmarks.label_server`.
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from annotation.agreement import AgreementOptions, coefficients, measure
from annotation.agreement.bootstrap import Bootstrap, sum_by
from annotation.agreement.dawid_skene import fit
from annotation.agreement.pairs import pair_kappas
from annotation.agreement.ratings import Ratings, encode
from benchmarks import label_server
from benchmarks.machine import best_of, describe_machine, table
from benchmarks.simulated_votes import Simulated, Simulation, simulate

DYADS, CLIPS_PER_DYAD, ANNOTATORS = 5000, 6, 20
#: Rounds of the slow bootstrap that are timed, and iterations of EM that are compared.
TIMED_ROUNDS, EM_STEPS = 5, 10


def make_votes(votes: int) -> Simulated:
    """Votes of 20 annotators, one at random, one who keeps predictions, one who clicks straight on."""
    per_clip = -(-votes // (DYADS * CLIPS_PER_DYAD))
    made = simulate(
        Simulation(
            dyads=DYADS,
            clips_per_dyad=CLIPS_PER_DYAD,
            annotators=ANNOTATORS,
            votes_per_clip=per_clip,
            random=(1,),
            stamps=(2,),
            straight=(3,),
            gold=0.0,
        )
    )
    keep = np.sort(np.random.default_rng(1).permutation(made.votes.num_rows)[:votes])
    return Simulated(made.votes.take(pa.array(keep)), made.clips, made.truth, made.predictions)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def alpha_rows(ratings: Ratings, options: AgreementOptions) -> list[list[str]]:
    """Alpha of one question with its interval."""
    import krippendorff

    counts = ratings.counts()

    def ours() -> tuple[float, Any]:
        sums = sum_by(ratings.dyad, coefficients.item_sums(counts), ratings.num_dyads)
        bootstrap = Bootstrap(ratings.num_dyads, options.rounds, options.seed, options.level)
        return float(coefficients.alpha(sums.sum(axis=0))), coefficients.alpha(bootstrap.totals(sums))

    of_dyad = [np.flatnonzero(ratings.dyad == dyad) for dyad in range(ratings.num_dyads)]

    def one_round(weights: Any) -> float:
        rows = np.concatenate([of_dyad[d] for d in np.repeat(np.arange(ratings.num_dyads), weights)])
        return float(krippendorff.alpha(value_counts=counts[rows], level_of_measurement="nominal"))

    weights = next(Bootstrap(ratings.num_dyads, options.rounds, options.seed, options.level).weights())
    value, rounds = ours()
    theirs = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    seconds, values = timed(lambda: [one_round(weights[r].astype(int)) for r in range(TIMED_ROUNDS)])
    off = max(abs(value - theirs), float(np.abs(np.array(values) - rounds[:TIMED_ROUNDS]).max()))
    return [row("alpha, 1 question, with interval", best_of(ours, 3), seconds / TIMED_ROUNDS * options.rounds, off,
                f"krippendorff, loop over rounds ({TIMED_ROUNDS} timed)")]  # fmt: skip


def kappa_rows(ratings: Ratings, names: tuple[str, ...], options: AgreementOptions) -> list[list[str]]:
    """Kappa of all pairs: ours with intervals, scikit-learn's without."""
    from sklearn.metrics import cohen_kappa_score

    def ours() -> Any:
        bootstrap = Bootstrap(ratings.num_dyads, options.rounds, options.seed, options.level)
        return pair_kappas(ratings, names, bootstrap)

    answer = np.full((len(names), ratings.num_items), -1)
    answer[ratings.rater, ratings.item] = ratings.answer

    def theirs() -> list[float]:
        found = []
        for one, other in combinations(range(len(names)), 2):
            both = (answer[one] >= 0) & (answer[other] >= 0)
            if len(np.unique(answer[[one, other]][:, both])) < 2:
                found.append(np.nan)
            else:
                found.append(float(cohen_kappa_score(answer[one, both], answer[other, both])))
        return found

    seconds, values = timed(theirs)
    pairs = ours()
    off = np.nanmax(np.abs([np.nan if p.kappa.value is None else p.kappa.value for p in pairs] - np.array(values)))
    return [row(f"kappa of {len(pairs)} pairs, with intervals", best_of(ours, 2), seconds * (1 + options.rounds), off,
                "scikit-learn, loop over rounds (1 timed)")]  # fmt: skip


def skene_rows(ratings: Ratings) -> list[list[str]]:
    """EM steps of Dawid and Skene's model."""
    import pandas as pd
    from crowdkit.aggregation import DawidSkene as CrowdKit

    frame = pd.DataFrame({"task": ratings.item, "worker": ratings.rater, "label": ratings.answer})
    sizes = {"num_items": ratings.num_items, "num_raters": ratings.num_raters, "num_answers": len(ratings.answers)}

    def ours() -> Any:
        votes = ratings.item, ratings.rater, ratings.answer
        return fit(*votes, **sizes, max_iterations=EM_STEPS, tolerance=0.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, theirs = timed(lambda: CrowdKit(n_iter=EM_STEPS, tol=-np.inf).fit(frame))
    off = np.abs(theirs.probas_.sort_index()[[0, 1, 2]].to_numpy() - ours().posterior).max()
    return [row(f"Dawid and Skene, {EM_STEPS} steps", best_of(ours, 3), seconds, off, "crowd-kit")]


def row(what: str, ours: float, theirs: float, off: float, rival: str) -> list[str]:
    return [what, f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.0f}x", f"{off:.0e}", rival]


def agreement(votes: int) -> None:
    """Time the report, then its parts beside their rivals."""
    options = AgreementOptions()
    made = make_votes(votes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used = time.process_time()
    seconds, report = timed(lambda: measure(made.votes, made.clips, options, predictions=made.predictions))
    used = time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {one.name: one.verdict for one in report.annotators if one.verdict != "ok"}
    print(
        f"{report.num_votes:,} votes, {len(report.annotators)} annotators, {report.num_clips:,} clips, "
        f"{report.num_dyads:,} dyads, {options.rounds:,} rounds\n"
        f"whole report: {seconds:.1f} s ({used:.1f} s of processor time), "
        f"{(peak - before) / 1024:.0f} MiB more than the votes' {before / 1024:.0f}; limit 10 s\n"
        f"not ok: {found}; keep predictions: {[one.name for one in report.annotators if one.rubber_stamp]}\n"
    )
    encoded = encode(made.votes, made.clips)
    ratings = encoded.ratings("kinship")
    rows = [["part", "s", "rival s", "ratio", "largest difference", "rival"]]
    rows += alpha_rows(ratings, options)
    rows += kappa_rows(ratings, encoded.annotators, options)
    rows += skene_rows(ratings)
    print(table(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("agreement", help="the agreement report")
    command.add_argument("--votes", type=int, default=100_000)
    label_server.add_options(commands.add_parser("server", help="push and pull against a real label server"))
    arguments = parser.parse_args()
    print(describe_machine())
    if arguments.command == "agreement":
        agreement(arguments.votes)
    else:
        print(label_server.report(arguments.clips, arguments.seconds, arguments.voters, arguments.data))


if __name__ == "__main__":
    main()
