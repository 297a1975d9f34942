"""Options of a model: what an answer may be, what is fixed, and what a change needs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model_rig import OPTIONS as MADE
from trainer.errors import OptionError
from trainer.options import BY_NAME, OPTIONS, changes_of, parse_answer, problems_of

STORED = {name: getattr(value, "item", lambda value=value: value)() for name, value in MADE.items()}


def test_the_options_are_deepfacelabs_in_its_order() -> None:
    assert [option.name for option in OPTIONS] == list(MADE)


def test_settings_change_what_they_name() -> None:
    found = changes_of(STORED, ["batch_size=8", "random_warp=n", "ct_mode=rct", "gan_power=0.1", "clipgrad=n"])
    assert {one.name: one.after for one in found} == {
        "batch_size": 8, "random_warp": False, "ct_mode": "rct", "gan_power": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("batch_size", "no setting"), ("nose=3", "no setting"), ("batch_size=0", "a whole number from 1"),
        ("batch_size=x", "a whole number"), ("gan_power=6", "from 0 to 5"), ("gan_power=nan", "from 0 to 5"),
        ("random_warp=maybe", "y or n"), ("ct_mode=RCT", "none, rct"), ("resolution=128", "cannot become"),
        ("archi=liae-ud", "since the model was made"), ("lr_dropout=True", "n, y, cpu"), ("gan_dims=3", "from 4"),
        ("ae_dims=40", "since the model was made"), ("target_iter=-1", "from 0"), ("face_type=f", "was made"),
        ("e_dims=17", "a multiple of 2"),
    ],
)  # fmt: skip
def test_a_setting_that_may_not_be_is_refused_with_what_is_expected(setting: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        changes_of(STORED, [setting])


def test_a_fixed_option_may_be_named_as_it_is() -> None:
    assert changes_of({**STORED, "resolution": 128}, ["resolution=128"])[0].after == 128
    assert changes_of(STORED, ["archi=df-ud"]) == ()


@given(st.sampled_from(OPTIONS), st.text(max_size=12))
def test_any_text_is_a_value_of_the_options_own_type_or_refused(option: object, text: str) -> None:
    one = BY_NAME[option.name]  # type: ignore[attr-defined]
    try:
        value = parse_answer(one, text)
    except OptionError as error:
        assert one.name in str(error)  # noqa: PT017 -- either is right
        return
    assert isinstance(value, one.kind) or (one.is_fixed and int(value) == float(value))


def test_the_options_of_a_model_are_judged() -> None:
    assert problems_of(STORED) == ()
    wrong = {**STORED, "face_type": "nose", "resolution": 65}
    del wrong["clipgrad"]
    found = " ".join(problems_of(wrong))
    assert all(word in found for word in ("clipgrad is missing", "resolution", "face_type"))
    without_gan = {name: value for name, value in STORED.items() if not name.startswith("gan_") or name == "gan_power"}
    assert problems_of(without_gan) == ()
