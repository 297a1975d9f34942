"""What a model's options change: the network, the training, or nothing that counts."""

from __future__ import annotations

import pytest

from dfl.model_options import (
    is_at_goal,
    learning_rate_fraction,
    plain_option,
    training_options_text,
    trains_gan,
)

OPTIONS = {"archi": "liae-ud", "resolution": 128, "ae_dims": 256, "batch_size": 8, "adabelief": True, "gan_dims": 16}


def options(**changed: object) -> dict[str, object]:
    return {**OPTIONS, **changed}


def test_the_text_of_options_changes_with_what_changes_the_loss_only() -> None:
    assert training_options_text(options()) == training_options_text(options(autobackup_hour=3))
    assert training_options_text(options()) != training_options_text(options(random_warp=False))


def test_pretraining_switches_the_gan_off() -> None:
    assert trains_gan(options(gan_power=0.1))
    assert not trains_gan(options(gan_power=0.1, pretrain=True))
    assert not trains_gan(options(gan_power=0))
    assert not trains_gan(options(gan_power="<list>"))


def test_the_order_of_an_architectures_flags_makes_no_other_network() -> None:
    assert plain_option("archi", "liae-ud") == plain_option("archi", "liae-du") != plain_option("archi", "df-ud")


def test_the_learning_rate_goes_in_waves_with_lr_dropout_alone() -> None:
    assert learning_rate_fraction(options(lr_dropout="n"), 250) is None
    waves = [learning_rate_fraction(options(lr_dropout="y"), iteration) for iteration in (0, 125, 250, 500)]
    assert waves == pytest.approx([1.0, 0.5, 0.0, 1.0])


def test_a_trainer_is_at_its_goal_from_its_target_on() -> None:
    assert not is_at_goal(options(target_iter=0), 100)
    assert not is_at_goal(options(target_iter=101), 100)
    assert is_at_goal(options(target_iter=100), 100)
    assert not is_at_goal(options(target_iter="<list>"), 100)
