# SPDX-License-Identifier: Apache-2.0
"""The C++ command: what it prints, and how it fails."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GRAPH = """kpt.graph 1
sym s in [1, 8] hint 4
input %x : f32[s]
%a = aten.neg(%x) : f32[s]
%y = aten.relu(%x) : f32[s]
return %y
"""


def test_env_shows_value_source_and_fault(kpt):
    rows = {row["name"]: row for row in json.loads(kpt("env", "--json", KPT_NUM_THREADS="3").stdout)["settings"]}
    assert (rows["num_threads"]["value"], rows["num_threads"]["source"]) == ("3", "environment")
    assert rows["log"]["source"] == "default"
    bad = kpt("env", KPT_LOG="loud")
    assert bad.returncode == 1 and 'got KPT_LOG="loud", want one of error warn info debug' in bad.stderr


def test_env_names_a_misspelt_variable(kpt):
    done = kpt("env", KPT_NUM_THREDS="3")
    assert done.returncode == 1
    assert "unknown: KPT_NUM_THREDS is set, no setting has this name" in done.stdout


def test_env_markdown_is_the_page_in_docs(kpt):
    assert kpt("env", "--markdown").stdout == (ROOT / "docs/settings.md").read_text()


def test_hardware_agrees_with_the_machine(kpt):
    cpu = json.loads(kpt("hardware", "--json").stdout)["cpu"]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    assert cpu["avx2"] == ("avx2" in flags)
    assert cpu["avx512_bf16"] == ("avx512_bf16" in flags)
    assert json.loads(kpt("hardware", "--json", KPT_CPU_ISA="generic").stdout)["cpu"]["isa"] == "generic"
    assert "kernels use" in kpt("hardware").stdout


def test_graph_prints_what_it_read(kpt):
    assert kpt("graph", "-", stdin=GRAPH).stdout == GRAPH
    assert kpt("graph", "-", "--check", stdin=GRAPH).stdout == ""


TWICE = """kpt.graph 1
input %x : f32[4]
%a = aten.exp(%x) : f32[4]
%b = aten.exp(%x) : f32[4]
%y = aten.add.Tensor(%a, %b) : f32[4]
return %y
"""


def test_graph_runs_the_passes_that_are_not_disabled(kpt):
    done = kpt("graph", "-", "--passes", "--rewrites", stdin=TWICE)
    assert done.stdout.count("aten.exp") == 1
    assert "applied   cse@" in done.stderr
    assert kpt("graph", "-", "--passes", "--disable", "dce,cse", stdin=TWICE).stdout.count("aten.exp") == 2


def test_graph_fuses_and_leaves_out_what_is_skipped(kpt):
    text = """kpt.graph 1
input %x : f32[4, 8]
weight %w "w" : f32[16, 8]
%h = aten.linear(%x, %w, none) : f32[4, 16]
%y = aten.relu(%h) : f32[4, 16]
return %y
"""
    assert 'kpt.linear(%x, %w, none, none, act="relu")' in kpt("graph", "-", "--fuse", stdin=text).stdout
    assert kpt("graph", "-", "--fuse", "--skip", "linear_act@y", stdin=text).stdout == text


def test_graph_is_written_for_a_device(kpt):
    text = """kpt.graph 1
input %x : bf16[2, 8, 1, 1]
weight %w "w" : bf16[8, 8, 1, 1]
%y = aten.convolution(%x, %w, none, stride=[1, 1], padding=[0, 0], dilation=[1, 1], transposed=false, output_padding=[0, 0], groups=1) : bf16[2, 8, 1, 1]
return %y
"""  # noqa: E501
    assert 'layout="nhwc"' in kpt("graph", "-", "--passes", "--device", "cuda", stdin=text).stdout
    assert kpt("graph", "-", "--passes", stdin=text).stdout == text


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (("graph", "no_such_file"), 1, 'got file "no_such_file"'),
        (("graph", "-"), 1, "[ir.parse] line 1"),
        (("graph",), 2, "file is required"),
        (("fly",), 2, ""),
        (("new", "kernel", "Bad-Name"), 1, 'got name "Bad-Name"'),
        (("new", "pass", "dce"), 1, 'got name "dce"'),
    ],
)
def test_faults_end_with_a_status_and_a_reason(kpt, args, status, message):
    done = kpt(*args, stdin="not a graph\n")
    assert done.returncode == status and message in done.stderr


@pytest.fixture
def copy(tmp_path):
    """The parts of the source tree that `kpt new` reads and that a leaf compiles against."""
    for name in ("src", "tools/templates"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "folder"),
    [("kernel", "kernels"), ("pass", "passes"), ("fusion", "fusion/patterns"), ("backend", "backends")],
)
def test_new_leaf_builds_and_passes_its_test(kpt, build, copy, kind, folder):
    done = kpt("new", kind, "demo_leaf", cwd=copy / "src")
    leaf = copy / "src/kpt" / folder / "demo_leaf"
    written = {f"src/kpt/{folder}/demo_leaf/{path.name}" for path in leaf.iterdir()}
    assert done.returncode == 0 and written == set(done.stdout.splitlines()[:-1])
    assert not any(
        "@" in line and "@name" in line.lower() for path in leaf.iterdir() for line in path.read_text().splitlines()
    )
    # The conformance cases need the suite of the room; tools/check_new.sh runs them.
    sources = [path for path in leaf.glob("*.cpp") if not path.name.endswith("_cases_test.cpp")]
    if kind == "fusion":  # the build makes this function from all pattern.kpt files
        text = (leaf / "pattern.kpt").read_text()
        stub = copy / "pattern_text.cpp"
        stub.write_text(
            '#include <gtest/gtest.h>\n#include "kpt/fusion/pattern.h"\n'
            f'namespace kpt {{ std::string_view pattern_text(std::string_view) {{ return R"kpt({text})kpt"; }}\n'
            "void register_demo_leaf(FusionRegistry&);\n"
            "TEST(Leaf, Registers) { FusionRegistry r; register_demo_leaf(r); EXPECT_EQ(r.ordered().size(), 1u); } }\n"
        )
        sources.append(stub)
        cases = (leaf / "test.kpt").read_text()  # the room's patterns_test runs them: tools/check_new.sh
        assert "=>\nkpt.graph 1" in cases and "=> no: " in cases
    program = copy / "leaf_test"
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", f"-I{copy}/src"]
    libraries = [f"-L{build}/lib", "-lkpt", f"-Wl,-rpath,{build}/lib", "-lgtest", "-lgtest_main", "-lpthread"]
    subprocess.run(["g++", *flags, *sources, "-o", program, *libraries], check=True)
    ran = subprocess.run([program], capture_output=True, text=True)
    assert ran.returncode == 0 and "PASSED" in ran.stdout, ran.stdout
