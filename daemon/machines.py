"""From the tables [[machine]] and [[sync]] to the values that `sync` works with."""

from __future__ import annotations

from daemon.config.schema import Config
from daemon.config.sync_tables import MachineConfig, SyncConfig
from dfl.model_files import ModelName
from sync.averaging.average import AverageSettings
from sync.averaging.gates import GateSettings
from sync.model_files.snapshot import SnapshotSettings
from sync.rounds.settings import SyncSettings
from sync.schedule.stages import StageSettings, StageTable
from sync.trainers.contract import TrainerSettings
from sync.types import Machine


def machine_of(settings: MachineConfig) -> Machine:
    """Return the machine that a [[machine]] table describes."""
    return Machine(
        name=settings.name,
        address=settings.address,
        model_dir=settings.model_dir,
        port=settings.port,
        user=settings.user,
        key=settings.key,
        known_hosts=settings.known_hosts,
        control=settings.control,
        stop=settings.stop,
        start=settings.start,
        status=settings.status,
        pid=settings.pid,
        weight=settings.share,
        transfer=settings.transfer,
        deadline_s=settings.deadline_s,
    )


def model_of(settings: SyncConfig) -> ModelName:
    """Return the model that a [[sync]] table names."""
    return ModelName(settings.name, settings.model_class)


def round_settings_of(config: Config, settings: SyncConfig) -> SyncSettings:
    """Return what a [[sync]] table says about rounds. Its folder lies in the state folder."""
    by_name = {machine.name: machine for machine in config.machines}
    model = model_of(settings)
    limits, snapshot = settings.limits, settings.snapshot
    return SyncSettings(
        model=model,
        machines=tuple(machine_of(by_name[name]) for name in settings.machines),
        folder=config.service.state_dir / "sync" / model.prefix,
        quorum=settings.quorum,
        keep_rounds=settings.keep_rounds,
        average=AverageSettings(
            rule=settings.rule,
            weight_rule=settings.shares,
            trim=settings.trim,
            outer=settings.outer,
            outer_learning_rate=settings.outer_learning_rate,
            outer_momentum=settings.outer_momentum,
            ema_decay=settings.ema_decay,
        ),
        gates=GateSettings(
            spread_max=limits.spread_max,
            spread_warn=limits.spread_warn,
            drift_max=limits.drift_max,
            cosine_gap=limits.cosine_gap,
            least_work=limits.least_work,
            warm_up_iterations=settings.warm_up_iterations,
        ),
        trainer=trainer_settings_of(settings),
        snapshot=SnapshotSettings(
            tries=snapshot.tries,
            wait_s=snapshot.wait_s,
            quiet_s=snapshot.quiet_s,
            disk_reserve_bytes=snapshot.reserve_bytes,
        ),
    )


def trainer_settings_of(settings: SyncConfig) -> TrainerSettings:
    """Return how long a [[sync]] table says that trainers are waited for."""
    waits = settings.waits
    return TrainerSettings(
        command_s=waits.command_s,
        stop_s=waits.stop_s,
        answer_s=waits.answer_s,
        alive_s=waits.alive_s,
        reaction_s=waits.reaction_s,
        poll_s=waits.poll_s,
        proof_s=waits.proof_s,
        save_period_s=waits.save_period_s,
    )


def stage_table_of(settings: SyncConfig) -> StageTable:
    """Return the stages of a [[sync]] table."""
    stages = tuple(
        StageSettings(stage.name, stage.every_iterations, stage.from_iteration, stage.below_loss)
        for stage in settings.stages
    )
    return StageTable(stages, settings.target_loss)
