"""The kernel path chosen for a processor."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from models.compiler.cpu import (
    REQUIRED,
    CpuFeatures,
    ask_llvm,
    choose_path,
    code_target,
    detect,
    host_architecture,
    macos_x86_features,
    parse_cpuinfo,
)
from models.core.errors import UserError

V3 = "avx avx2 bmi1 bmi2 f16c fma abm movbe popcnt sse4_1 sse4_2"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


def cpuinfo(*flags: str, field: str = "flags", name: str = "Test CPU") -> str:
    return "\n\n".join(
        f"processor\t: {i}\nmodel name\t: {name}\n{field}\t\t: {f}" for i, f in enumerate(flags)
    )


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        (f"{V4} avx512_vnni avx_vnni", "avx512vnni"),
        (f"{V4} avx_vnni", "avxvnni"),
        (f"{V3} avx_vnni", "avxvnni"),
        (V4, "avx2"),
        (V3, "avx2"),
        (V3.replace("f16c", ""), "generic"),
        ("sse sse2", "generic"),
    ],
)
def test_the_fastest_path_that_the_processor_has(flags: str, path: str) -> None:
    assert choose_path(parse_cpuinfo(cpuinfo(flags), "x86_64"), "") == path


def test_arm_needs_the_dot_product_for_neon() -> None:
    with_dot = cpuinfo("fp asimd asimddp", field="Features")
    without = cpuinfo("fp asimd", field="Features")
    assert choose_path(parse_cpuinfo(with_dot, "aarch64"), "") == "neon"
    assert choose_path(parse_cpuinfo(without, "aarch64"), "") == "generic"


def test_only_what_every_core_has_counts() -> None:
    mixed = parse_cpuinfo(cpuinfo(f"{V3} avx_vnni", V3), "x86_64")
    assert choose_path(mixed, "") == "avx2"
    assert mixed.name == "Test CPU"


def test_an_unknown_architecture_runs_generic_code() -> None:
    assert choose_path(CpuFeatures("other", "riscv", frozenset()), "") == "generic"


def test_the_override_chooses_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = parse_cpuinfo(cpuinfo(f"{V4} avx512_vnni"), "x86_64")
    assert choose_path(cpu, "avx2") == "avx2"
    monkeypatch.setenv("EDGE_APP_KERNELS", "generic")
    assert choose_path(cpu) == "generic"
    monkeypatch.setenv("EDGE_APP_KERNELS", "")
    assert choose_path(cpu) == "avx512vnni"


def test_the_override_is_refused_where_it_cannot_run() -> None:
    cpu = parse_cpuinfo(cpuinfo(V3), "x86_64")
    with pytest.raises(UserError, match=r"avxvnni.*lacks avxvnni"):
        choose_path(cpu, "avxvnni")
    with pytest.raises(UserError, match=r"neon cannot run"):
        choose_path(cpu, "neon")
    with pytest.raises(UserError, match=r"fast is unknown; choose one of avx512vnni"):
        choose_path(cpu, "fast")


def test_code_is_for_a_named_baseline_never_for_the_host() -> None:
    assert code_target("avx512vnni", "x86_64").cpu == "x86-64-v4"
    assert code_target("avx512vnni", "x86_64").attributes == ("+avx512vnni",)
    assert code_target("avx2", "x86_64").cpu == "x86-64-v3"
    assert code_target("generic", "x86_64") == code_target("generic", "x86_64")
    assert code_target("generic", "x86_64").attributes == ()
    assert code_target("neon", "aarch64").attributes == ("+neon", "+dotprod")


def test_an_intel_mac_lists_its_features_in_its_own_words() -> None:
    words = "FPU SSE4.2 MOVBE POPCNT F16C FMA AVX1.0 AVX2 BMI1 BMI2 LZCNT"
    cpu = CpuFeatures("x86_64", "Intel Mac", macos_x86_features(words))
    assert choose_path(cpu, "") == "avx2"


def test_this_machine_gets_a_path_that_it_supports() -> None:
    cpu = detect()
    assert cpu.architecture == host_architecture()
    assert cpu.supports(choose_path(cpu, ""))


@pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc/cpuinfo")
def test_llvm_sees_the_same_processor_and_its_answer_is_kept(tmp_path: Path) -> None:
    asked, known = ask_llvm(tmp_path), detect()
    relevant = frozenset().union(*REQUIRED.values())
    assert asked.features & relevant == known.features & relevant
    kept = tmp_path / "cpu.json"
    answer = json.loads(kept.read_text())
    kept.write_text(json.dumps(answer | {"features": ["made-up"]}))
    assert ask_llvm(tmp_path).features == {"made-up"}
    kept.write_text(json.dumps(answer | {"identifier": f"not {platform.machine()}"}))
    assert ask_llvm(tmp_path).features == asked.features
    kept.write_text("{")
    assert ask_llvm(tmp_path).features == asked.features
