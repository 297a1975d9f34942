"""dfld doctor: ONNX Runtime, GPU, and the models that the inboxes need, with their licences. Downloads nothing."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.config.schema import Config
from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from engine.backends.catalog import BACKENDS, BackendDescription, describe_backends
from engine.models.accelerators import AcceleratorReport, accelerator_report
from engine.models.packs import DOWNLOADABLE, find_pack

RUNTIME = "ONNX Runtime"


def examine_runtime() -> Iterator[Diagnosis]:
    """Which ONNX Runtime is installed, and can it use the GPU that is there?"""
    yield judge_runtime(accelerator_report())


def judge_runtime(report: AcceleratorReport) -> Diagnosis:
    """Given what is installed, say whether it can be trusted. Pure."""
    found = f"{', '.join(report.distributions) or 'not installed'}; offers {', '.join(report.providers) or 'nothing'}"
    if len(report.distributions) > 1:
        return problem(RUNTIME, report.problem, report.hint)
    if report.problem:
        return warning(RUNTIME, f"{report.problem} ({found})", report.hint)
    return ok(RUNTIME, found)


def examine_models(config: Config | None) -> Iterator[Diagnosis]:
    """Load what the inboxes need (without a configuration: every backend) and say where it really runs."""
    if config is None:
        for name in BACKENDS:
            yield from judge_models(f"backend {name}", describe_backends([name])[0], needed=False)
        return
    wanted: dict[tuple[str, str], list[str]] = {}
    for inbox in config.inboxes:
        pack = inbox.model_pack if inbox.backend == "insightface" else ""
        wanted.setdefault((inbox.backend, pack), []).append(inbox.name)
    for (name, pack), inboxes in wanted.items():
        subject = f"backend {name}{f' with {pack}' if pack else ''}"
        if pack in DOWNLOADABLE and find_pack(config.model_root, pack) is None:
            yield warning(
                subject,
                f"{pack} is not in {config.model_root}: the first video waits for its download; "
                f"licence: {DOWNLOADABLE[pack]}",
                f"without a network, put its .onnx files into {config.model_root / pack}/ by hand",
            )
            continue
        described = describe_backends([name], model_root=config.model_root, model_pack=pack)[0]
        yield from judge_models(subject, described, needed=True, used_by=", ".join(inboxes))


def judge_models(subject: str, found: BackendDescription, *, needed: bool, used_by: str = "") -> Iterator[Diagnosis]:
    """Given what opening a backend brought, say where it runs, what is wrong, and what its makers allow. Pure."""
    if found.info is None:
        verdict = problem if needed else warning
        behind = f" (inboxes: {used_by})" if used_by else ""
        yield verdict(subject, f"{found.problem}{behind}", found.hint or "dfld backends says more")
        return
    info = found.info
    licences = sorted({model.licence for model in info.models})
    yield ok(subject, f"runs on {info.device}; licence: {'; '.join(licences)}")
    for sentence in info.warnings:
        yield warning(subject, sentence, 'see "dfld backends"')
