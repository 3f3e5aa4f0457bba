"""Worked examples as they were published: numbers to check figures against."""

from __future__ import annotations

import numpy as np

from annotation.agreement.ratings import Ints

_ = -1

#: Four observers, twelve units, five values with missing ones. K. Krippendorff, Computing Krippendorff's
#: alpha-reliability (2011), example C: alpha .743 (nominal), .815 (ordinal). The same data are "cac.raw4raters" of
#: K. L. Gwet's Handbook of inter-rater reliability (4th ed., 2014, p. 120): AC1 .77544, percent agreement .81818.
FOUR_OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
)

#: Three coders, fifteen units, four values (the encyclopedia's example): alpha .691 (nominal).
THREE_CODERS = np.array(
    [
        [_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3],
        [1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _],
        [_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4],
    ]
)

#: Two observers, ten units, two values. Krippendorff 2011, example A: alpha .095.
TWO_OBSERVERS = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]) + 1

#: Two abstractors, 100 women in three states of pregnancy. Gwet's Handbook, "cont3x3abstractors": kappa .7964094.
ABSTRACTORS = np.array([[13, 0, 0], [0, 20, 7], [0, 4, 56]])

#: Patients 1 to 45 of A. P. Dawid and A. M. Skene (1979), table 1: what anaesthetist 1 said three times, 2 to 5 once.
ANAESTHETISTS = """
111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3|222 2 2 2 3|
232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1|111 1 1 1 1|111 1 1 1 1|
222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2|111 1 1 1 1|111 1 1 1 1|232 2 2 2 2|
111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3|111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3|
221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1|111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2
"""


def counts_of(table: Ints, answers: int) -> Ints:
    """(I, K) counts from (raters, items) answers from 1; -1 is missing."""
    return np.stack([(table == answer).sum(axis=0) for answer in range(1, answers + 1)], axis=1)


def anaesthetists() -> tuple[Ints, Ints, Ints]:
    """Item, rater and answer of every vote, from 0."""
    votes = [
        (item, rater, int(answer) - 1)
        for item, row in enumerate(ANAESTHETISTS.replace("\n", "").split("|"))
        for rater, said in enumerate(row.split())
        for answer in said
    ]
    item, rater, answer = np.array(votes).T
    return item, rater, answer
