import platform

import pytest
import torch

from src.guard.machine import CPUINFO, kernel_settings, processor


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="reads Linux's list of x86-64 flags")
def test_processor_has_model_and_instructions() -> None:
    found = processor()
    assert found["cpu"].split()[0] == "x86_64"
    assert len(found["cpu"].split()) == 4
    capability = torch.backends.cpu.get_cpu_capability()
    assert ("avx2" in found["instructions"].split()) == (capability in ("AVX2", "AVX512"))


def test_kernel_settings_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel_settings()
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert kernel_settings() == {**before, "DNNL_MAX_CPU_ISA": "AVX2"}
