"""From the tables of the configuration to the values that sync works with: no setting is left that nobody can set."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from daemon.config.load import read_config
from daemon.config.schema import Config
from daemon.errors import ConfigError
from daemon.machines import round_settings_of
from sync.rounds.settings import SyncSettings

CONFIG = """
[[machine]]
name = "gpu1"
address = "gpu1.lan"
model_dir = "/m"
transfer = "local"

[[sync]]
name = "alice"
machines = ["gpu1"]
quorum = 1
rule = "median"
shares = "iterations"
trim = 0.3
outer = "nesterov"
outer_learning_rate = 0.6
outer_momentum = 0.8
ema_decay = 0.4
warm_up_iterations = 7
keep_rounds = 6

[sync.limits]
spread_max = 0.21
spread_warn = 0.11
drift_max = 0.51
cosine_gap = 0.31
least_work = 0.26

[sync.waits]
command = "3m"
stop = "16m"
answer = "17m"
alive = "6m"
reaction = "4m"
poll = "2s"
proof = "2h"
save_period = "26m"

[sync.snapshot]
tries = 41
wait = "6s"
quiet = "4s"
reserve = "1GiB"
"""


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(f'[service]\nstate_dir = "{tmp_path / "state"}"\n{text}', encoding="utf-8")
    return read_config(path).config


def settings_of(tmp_path: Path, text: str = CONFIG) -> SyncSettings:
    config = read(tmp_path, text)
    return round_settings_of(config, config.syncs[0])


@pytest.mark.parametrize("part", ["average", "gates", "trainer", "snapshot"])
def test_every_setting_of_a_round_can_be_set(tmp_path: Path, part: str) -> None:
    found = getattr(settings_of(tmp_path), part)
    default = type(found)()
    said_with_each_round = {"are_stopped"}
    same = {one.name for one in fields(found) if getattr(found, one.name) == getattr(default, one.name)}
    assert same == said_with_each_round & {one.name for one in fields(found)}


def test_without_keys_a_round_has_the_defaults_of_sync(tmp_path: Path) -> None:
    found = settings_of(tmp_path, CONFIG.partition("rule =")[0])
    assert found == replace(SyncSettings(found.model, found.machines, found.folder), quorum=1)


def test_a_warning_above_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"spread_warn.*at most spread_max, 0.21"):
        read(tmp_path, CONFIG.replace("spread_warn = 0.11", "spread_warn = 0.3"))
