from __future__ import annotations

import pytest

from engine.errors import ModelError, SettingsError
from engine.models.accelerators import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    accelerator_report,
    check_device,
    choose_providers,
    provider_options,
    runtime_problem,
    session_options,
)

BOTH = [CUDA_PROVIDER, CPU_PROVIDER]


def test_cuda_is_taken_when_listed_and_cpu_when_not() -> None:
    assert choose_providers("auto", BOTH) == BOTH
    assert choose_providers("cuda", BOTH) == BOTH
    assert choose_providers("auto", [CPU_PROVIDER]) == [CPU_PROVIDER]
    assert choose_providers("cpu", BOTH) == [CPU_PROVIDER]


def test_asking_for_a_gpu_that_onnxruntime_does_not_offer_is_an_error_with_the_remedy() -> None:
    with pytest.raises(ModelError, match="offers only CPUExecutionProvider") as caught:
        choose_providers("cuda", [CPU_PROVIDER])
    assert "make install-gpu" in caught.value.hint


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(SettingsError, match="device is 'tpu', expected one of auto, cpu, cuda"):
        choose_providers("tpu", BOTH)


def test_falling_back_to_the_cpu_is_an_error_when_cuda_was_asked_for_and_a_warning_otherwise() -> None:
    with pytest.raises(ModelError, match="fell back to the CPU"):
        check_device("cuda", BOTH, [CPU_PROVIDER])
    (warning,) = check_device("auto", BOTH, [CPU_PROVIDER])
    assert "fell back to the CPU" in warning
    assert "make install-gpu" in warning


def test_a_session_that_runs_where_it_was_asked_to_warns_of_nothing() -> None:
    assert check_device("cuda", BOTH, BOTH) == ()
    assert check_device("auto", [CPU_PROVIDER], [CPU_PROVIDER]) == ()
    assert check_device("cpu", [CPU_PROVIDER], [CPU_PROVIDER], problem="the GPU is idle") == ()


def test_a_gpu_left_idle_by_the_wrong_package_is_warned_of() -> None:
    problem = runtime_problem(["onnxruntime"], [CPU_PROVIDER], gpu_seen=True)
    assert "has an NVIDIA GPU" in problem
    (warning,) = check_device("auto", [CPU_PROVIDER], [CPU_PROVIDER], problem=problem)
    assert problem in warning


def test_both_onnxruntime_packages_at_once_are_explained() -> None:
    problem = runtime_problem(["onnxruntime", "onnxruntime-gpu"], BOTH, gpu_seen=True)
    assert "onnxruntime and onnxruntime-gpu are both installed" in problem


def test_a_right_environment_has_no_problem() -> None:
    assert runtime_problem(["onnxruntime"], [CPU_PROVIDER], gpu_seen=False) == ""
    assert runtime_problem(["onnxruntime-gpu"], BOTH, gpu_seen=True) == ""


def test_the_report_names_what_is_installed_here() -> None:
    report = accelerator_report()
    assert any(line.startswith("onnxruntime") for line in report.distributions)
    assert CPU_PROVIDER in report.providers
    assert bool(report.problem) == bool(report.hint)


def test_threads_never_spin() -> None:
    options = session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_cuda_gets_the_options_that_are_reasoned_about_and_other_providers_none() -> None:
    cuda, cpu = provider_options(BOTH)
    assert cuda == {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }
    assert cpu == {}
    cuda.clear()
    assert provider_options(BOTH)[0], "a caller's copy is its own"
