"""Every table and key of config.toml: type, range, default and meaning, said once.

The frozen dataclasses here are what the daemon works with, and from them come validation, `config.example.toml`,
the JSON Schema and docs/configuration.md. A field whose name carries a unit (`stable_for_s`) is written in
the file without it (`stable_for = "10s"`); its alias says how. The text below a field is its line in the docs.
Tables of training machines and hooks are in `sync_tables`. Reading a file is `load`; what must hold between keys is
`checks`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from daemon.config.extract_table import ExtractTable
from daemon.config.faceset_tables import CurateConfig, MasksConfig
from daemon.config.sync_tables import HookConfig, MachineConfig, SyncConfig
from daemon.config.values import STRICT, ConfigPath, Duration, Glob, Line, Listen, Name, Size, parse_listen
from engine.types import ExtractSettings


@dataclass(frozen=True)
class ServiceConfig:
    """The daemon itself."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    state_dir: ConfigPath = Path("/var/lib/dfld")
    """Where the ledger and all other state lie; must be on a local disk."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How log lines look; auto = text, with journald's priorities when systemd reads them."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log lines that are written."""
    drain_timeout_s: Annotated[Duration, Field(alias="drain_timeout", ge=0, le=3600)] = 10.0
    """How long a stop waits for the work in hand to commit its cursor."""


@dataclass(frozen=True)
class HttpConfig:
    """Metrics and health over HTTP."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    listen: Listen = "127.0.0.1:9770"
    """Address of /metrics, /livez and /readyz; port 0 = any free one, "" = off."""

    hosts: tuple[Line, ...] = ()
    """Names, beside localhost and this machine's own, by which it may be asked over HTTP (its address always may);
    requests to other names are refused, so that no web page can read it through a browser."""

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port; None when HTTP is off."""
        return parse_listen(self.listen)


@dataclass(frozen=True)
class WatchConfig:
    """When a file in an inbox counts as complete; for all inboxes."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    stable_for_s: Annotated[Duration, Field(alias="stable_for", ge=0, le=86400)] = 10.0
    """A file must stay unchanged for so long, and for two looks at least."""
    rescan_every_s: Annotated[Duration, Field(alias="rescan_every", ge=0.05, le=86400)] = 300.0
    """How often every inbox is scanned in full; file events only make a scan come sooner."""
    mode: Literal["auto", "events", "poll"] = "auto"
    """auto = file events on local disks, scans alone on network filesystems."""
    ignore: tuple[Glob, ...] = ()
    """Patterns of names to leave alone, beside the built-in lists (docs/never-footage.md)."""
    done_marker: Annotated[Line, Field(max_length=64, pattern=r"^[^/]*$")] = ""
    """When set (".done"), a file is taken once a file of its name plus this ending lies beside it."""
    unreadable_grace_s: Annotated[Duration, Field(alias="unreadable_grace", ge=0, le=86400)] = 600.0
    """How long an unchanged file that does not open is waited for before it is quarantined."""


@dataclass(frozen=True)
class ModelsConfig:
    """Model files."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    root: Annotated[ConfigPath | None, Field(examples=["/var/lib/dfld/models"])] = None
    """Folder of insightface model packs; left out = `models` in the state folder."""


@dataclass(frozen=True)
class LimitsConfig:
    """What the extraction may use."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Child processes that extract; each holds the models once, on a GPU of its own while there are enough. No inbox
    gets a second one while another has files ready."""
    worker_memory_bytes: Annotated[Size, Field(alias="worker_memory", ge=256 * 2**20)] = 8 * 2**30
    """A worker that uses more is replaced, and its video goes on at the cursor."""
    worker_recycle_videos: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    """A worker is replaced after so many videos, since model runtimes grow."""
    no_progress_timeout_s: Annotated[Duration, Field(alias="no_progress_timeout", ge=1, le=86400)] = 300.0
    """A worker that moves no frame for so long is killed."""


@dataclass(frozen=True)
class DiskConfig:
    """Space that is left free on every filesystem written to."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    reserve_bytes: Annotated[Size, Field(alias="reserve", ge=0)] = 20 * 2**30
    """Work pauses when less is free."""
    reserve_percent: Annotated[float, Field(ge=0, le=90)] = 5.0
    """Work pauses when a smaller part of the filesystem is free; the larger of the two counts."""
    resume_margin_bytes: Annotated[Size, Field(alias="resume_margin", ge=0)] = 5 * 2**30
    """Work goes on when so much more than the reserve is free."""


@dataclass(frozen=True)
class RetryConfig:
    """Jobs that failed for a reason that may pass: no space, out of memory, a lost connection."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    attempts: Annotated[int, Field(ge=1, le=1000)] = 8
    """After so many failures the file is quarantined."""
    first_delay_s: Annotated[Duration, Field(alias="first_delay", ge=0, le=86400)] = 30.0
    """Wait before the second attempt; it doubles each time."""
    max_delay_s: Annotated[Duration, Field(alias="max_delay", ge=0, le=86400)] = 3600.0
    """The longest wait between two attempts."""


@dataclass(frozen=True)
class InboxConfig:
    """A folder that videos are dropped into, and what becomes of them."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    name: Annotated[Name, Field(examples=["alice"])]
    """Name in logs, metrics and commands."""
    path: Annotated[ConfigPath, Field(examples=["/srv/dfld/inbox/alice"])]
    """The folder that is watched; videos and folders of images in it are taken."""
    workspace: Annotated[ConfigPath, Field(examples=["/srv/dfld/workspaces/alice"])]
    """The DeepFaceLab workspace that is filled."""
    references: Annotated[tuple[ConfigPath, ...], Field(min_length=1, examples=[["/srv/dfld/references/alice"]])]
    """Photos of the wanted person, or folders of them. Where they lie inside an inbox, they are no footage."""
    negatives: tuple[ConfigPath, ...] = ()
    """Photos of people who are mistaken for the wanted person, or folders of them."""
    other_age: tuple[ConfigPath, ...] = ()
    """Photos of the same person at the age that is not wanted, or folders of them: who is as like these goes to
    review/. Two inboxes, each with the other's references here, part a young and an old set."""
    allow_mixed: bool = False
    """Take references that do not resemble each other; otherwise they are refused as two people."""
    largest_face: bool = False
    """Of a reference photo with several faces, take the largest; otherwise it is left out."""
    role: Literal["src", "dst"] = "src"
    """src fills data_src/aligned; dst also writes every frame to data_dst for the merger."""
    backend: Literal["insightface", "dlib", "opencv_cascade"] = "insightface"
    """The set of models that finds and compares faces."""
    model_pack: Name = "buffalo_l"
    """The insightface model pack."""
    on_done: Literal["keep", "move", "delete"] = "keep"
    """What becomes of the original once everything of it is written and verified. One that lacks footage is kept, and
    nothing is deleted unless it is proven that all of it was read."""
    done_dir: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/done/alice"])] = None
    """Where on_done = "move" puts originals; left out = `.done` in the inbox."""
    quarantine_dir: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/quarantine/alice"])] = None
    """Where files that cannot be used go, each with its reason; left out = `.quarantine` in the inbox."""
    link_targets: Annotated[tuple[ConfigPath, ...], Field(examples=[["/mnt/nas/footage"]])] = ()
    """Folders that symbolic links in the inbox may lead to; links to anywhere else are passed over."""
    sidecar_references: Annotated[tuple[ConfigPath, ...], Field(examples=[["/srv/dfld/references/alice-more"]])] = ()
    """Photos, or folders of them, that a sidecar may name beside those in the inbox and in `references`; any other
    path, and what is the reference of another inbox, is refused."""
    on_duplicate: Literal["skip", "reprocess", "quarantine"] = "skip"
    """What becomes of a file whose content was done before."""
    priority: Annotated[int, Field(ge=0, le=100)] = 5
    """Higher goes first; waiting files gain priority with time."""
    consent: Line = ""
    """How the person agreed, in a sentence; written into every log."""
    recursive: bool = True
    """Look into subfolders too."""
    require_mount: bool = False
    """Suspend the inbox while its folder is not a mount point or inside a mounted one."""
    mode: Annotated[Literal["auto", "events", "poll"] | None, Field(examples=["poll"])] = None
    """How this inbox is watched; left out = as [watch] says."""
    extract: ExtractTable = field(default_factory=ExtractSettings)
    """The options of `dfld extract`, same names."""
    masks: MasksConfig = field(default_factory=MasksConfig)
    """Masks for the faces of each clip, once it is extracted."""
    curate: CurateConfig = field(default_factory=CurateConfig)
    """What becomes of faces that training does not need, once all clips of the workspace are extracted."""

    @property
    def footage_folders(self) -> tuple[Path, ...]:
        """Where footage of this inbox may really lie."""
        return (self.path, *self.link_targets)

    @property
    def photos(self) -> tuple[tuple[str, int, Path], ...]:
        """(key, place in its list, path) of each photo, or folder of photos, that it names: never footage."""
        keys = ("references", "negatives", "other_age", "sidecar_references")
        return tuple((key, place, path) for key in keys for place, path in enumerate(getattr(self, key)))

    @property
    def done_folder(self) -> Path:
        return self.done_dir or self.path / ".done"

    @property
    def quarantine_folder(self) -> Path:
        return self.quarantine_dir or self.path / ".quarantine"


@dataclass(frozen=True)
class Config:
    """The whole of config.toml."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    require_consent: bool = False
    """Refuse an inbox that does not say how the person agreed."""
    service: ServiceConfig = ServiceConfig()
    http: HttpConfig = HttpConfig()
    watch: WatchConfig = WatchConfig()
    models: ModelsConfig = ModelsConfig()
    limits: LimitsConfig = LimitsConfig()
    disk: DiskConfig = DiskConfig()
    retry: RetryConfig = RetryConfig()
    inboxes: Annotated[tuple[InboxConfig, ...], Field(alias="inbox", max_length=1000)] = ()
    machines: Annotated[tuple[MachineConfig, ...], Field(alias="machine", max_length=1000)] = ()
    syncs: Annotated[tuple[SyncConfig, ...], Field(alias="sync", max_length=1000)] = ()
    hooks: Annotated[tuple[HookConfig, ...], Field(alias="hook", max_length=1000)] = ()

    @property
    def model_root(self) -> Path:
        return self.models.root or self.service.state_dir / "models"


@dataclass(frozen=True)
class SidecarConfig:
    """`<video>.dfld.toml` beside a video: what is different for this one file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    references: tuple[ConfigPath, ...] = ()
    """Photos instead of the inbox's; empty = those of the inbox."""
    start_s: Annotated[Annotated[Duration, Field(ge=0)] | None, Field(alias="start", examples=["1m"])] = None
    """Look only at frames from this time on."""
    end_s: Annotated[Annotated[Duration, Field(ge=0)] | None, Field(alias="end", examples=["90s"])] = None
    """Look only at frames before this time."""
    priority: Annotated[Annotated[int, Field(ge=0, le=100)] | None, Field(examples=[9])] = None
    """Priority instead of the inbox's."""
    skip: bool = False
    """Leave this file alone."""
