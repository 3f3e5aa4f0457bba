from __future__ import annotations

from annotation.predict.relation import Guess, Prediction, values_of


def test_short_names_can_be_read_back() -> None:
    blood, unequal, side = (Guess(value, 0.9, "transcript") for value in ("blood", "unequal", "A"))
    for prediction in (
        Prediction(blood, unequal, side, ()),
        Prediction(None, unequal, side, ()),
        Prediction(blood, None, None, ()),
    ):
        assert values_of(prediction.label) == {name: guess.value for name, guess in prediction.guesses.items()}
    assert values_of("") == {}
