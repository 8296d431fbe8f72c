# SPDX-License-Identifier: Apache-2.0
"""Planted violations: each rule of the layer check goes red, and a clean tree stays green."""

import pytest

import check_layers


@pytest.fixture
def rooms(tree):
    tree.write("src/kpt/base/CMakeLists.txt", "kpt_room(base LAYER 0 DEPS)\n")
    tree.write("src/kpt/base/error.h", "#include <string>\n")
    tree.write("src/kpt/ir/CMakeLists.txt", "# the graph\nkpt_room(ir LAYER 1 DEPS base)\n")
    tree.write("src/kpt/ir/graph.h", '#include "kpt/base/error.h"\n#include "kpt/version.h"\n')
    tree.write("src/kpt/version.h", "")
    tree.write(
        "src/kpt/passes/CMakeLists.txt",
        "kpt_room(passes LAYER 2 DEPS base ir\n  MANIFEST passes REGISTRY R REGISTRY_HEADER kpt/passes/pass.h)\n",
    )
    tree.write("src/kpt/passes/pass.h", '#include "kpt/ir/graph.h"\n')
    for leaf in ("cse", "dce"):
        tree.write(f"src/kpt/passes/{leaf}/{leaf}.cpp", '#include "kpt/passes/pass.h"\n')
    tree.write("src/kpt/passes/lib/walk.h", "")
    return tree


def faults(tree):
    return check_layers.check(tree.root)[0]


def test_clean_tree_passes(rooms):
    rooms.write("src/kpt/passes/cse/table.h", '#include "kpt/passes/lib/walk.h"\n')
    rooms.write("src/kpt/passes/cse/cse.cpp", '#include "kpt/passes/cse/table.h"\n')
    assert faults(rooms) == []


def test_include_of_an_undeclared_room(rooms):
    rooms.write("src/kpt/base/error.h", '\n#include "kpt/ir/graph.h"\n')
    assert faults(rooms) == ["src/kpt/base/error.h:2: got kpt/ir/graph.h, want a room of DEPS (none)"]


def test_arrow_to_the_same_layer(rooms):
    rooms.write("src/kpt/ir/CMakeLists.txt", "kpt_room(ir LAYER 1 DEPS base tensor)\n")
    rooms.write("src/kpt/tensor/CMakeLists.txt", "kpt_room(tensor LAYER 1 DEPS base)\n")
    assert faults(rooms) == ["room ir [1]: got DEPS tensor [1], want a lower layer"]


def test_arrow_to_an_unknown_room(rooms):
    rooms.write("src/kpt/ir/CMakeLists.txt", "kpt_room(ir LAYER 1 DEPS base tensr)\n")
    assert faults(rooms) == ["room ir: got DEPS tensr, want a room that exists"]


def test_leaf_that_includes_its_sister(rooms):
    rooms.write("src/kpt/passes/dce/dce.h", "")
    rooms.write("src/kpt/passes/cse/cse.cpp", '#include "kpt/passes/dce/dce.h"\n')
    assert faults(rooms) == [
        "src/kpt/passes/cse/cse.cpp:1: got kpt/passes/dce/dce.h, want no leaf folder seen from leaf cse"
    ]


def test_room_that_includes_a_leaf(rooms):
    rooms.write("src/kpt/passes/dce/dce.h", "")
    rooms.write("src/kpt/passes/pass.h", '#include "kpt/passes/dce/dce.h"\n')
    assert "want no leaf folder seen from room passes" in faults(rooms)[0]


@pytest.mark.parametrize("header", ["torch/library.h", "ATen/ATen.h", "Python.h", "cuda_runtime.h"])
def test_core_that_includes_torch_python_or_cuda(rooms, header):
    rooms.write("src/kpt/ir/graph.h", f"#include <{header}>\n")
    assert f"got <{header}>" in faults(rooms)[0]


def test_bridge_may_include_torch_but_no_undeclared_room(rooms):
    rooms.write("python/bridge/CMakeLists.txt", "kpt_app(bridge LAYER 9 DEPS base)\n")
    rooms.write("python/bridge/bridge.cpp", '#include <torch/library.h>\n#include "kpt/ir/graph.h"\n')
    assert faults(rooms) == ["python/bridge/bridge.cpp:2: got kpt/ir/graph.h, want a room of DEPS (base)"]


def test_include_of_a_missing_file_and_of_a_bare_name(rooms):
    rooms.write("src/kpt/ir/graph.h", '#include "kpt/base/eror.h"\n#include "graph.h"\n')
    assert [fault.split(": ")[1] for fault in faults(rooms)] == [
        "got kpt/base/eror.h, which does not exist",
        'got "graph.h", want the full path "kpt/..."',
    ]


def test_sources_without_a_room_line(rooms):
    rooms.write("src/kpt/extra/x.cpp", "")
    rooms.write("src/kpt/ir/CMakeLists.txt", "# kpt_room(ir LAYER 1 DEPS base)\n")
    assert len([f for f in faults(rooms) if "kpt_room" in f]) == 2


def test_matrix_counts_includes(rooms):
    _, found = check_layers.check(rooms.root)
    rows = {line.split()[0]: line.split()[2:] for line in check_layers.matrix(found).splitlines()[1:]}
    assert rows == {"base": ["."], "ir": ["1", "."], "passes": [".", "1", "2"]}


def test_exit_status(rooms, capsys):
    for name, dep in (("base", "no other room"), ("ir", "base"), ("passes", "base and ir")):
        rooms.write(f"src/kpt/{name}/README.md", f"May include {dep}.\n")
    rooms.write("docs/architecture.md", " 2  passes\n 1  ir\n 0  base\n")
    assert check_layers.main(["--root", str(rooms.root)]) == 0
    rooms.write("src/kpt/base/error.h", '#include "kpt/ir/graph.h"\n')
    assert check_layers.main(["--root", str(rooms.root)]) == 1
    assert "src/kpt/base/error.h:1" in capsys.readouterr().err


@pytest.fixture
def pages(tree):
    tree.write("src/kpt/base/CMakeLists.txt", "kpt_room(base LAYER 0 DEPS)\n")
    tree.write("src/kpt/base/README.md", "# base\nMay include the standard library; no other room.\n")
    tree.write("src/kpt/ir/CMakeLists.txt", "kpt_room(ir LAYER 1 DEPS base)\n")
    tree.write("src/kpt/ir/README.md", "# ir [1]\n* May include: `base`. Nothing of ir knows data.\n")
    tree.write("docs/architecture.md", "```\n 1  ir       graphs\n 0  base     words\n```\n")
    return tree


def page_faults(tree):
    return check_layers.check_pages(tree.root, check_layers.find_rooms(tree.root)[0])


def test_pages_that_say_what_is_declared_pass(pages):
    assert page_faults(pages) == []


@pytest.mark.parametrize(
    ("file", "text", "want"),
    [
        ("src/kpt/ir/README.md", "# ir\n", "src/kpt/ir/README.md: got May include no such sentence, want base"),
        ("src/kpt/ir/README.md", "May include: ir.", "src/kpt/ir/README.md: got May include ir, want base"),
        ("src/kpt/base/README.md", "May include ir.", "src/kpt/base/README.md: got May include ir, want none"),
        ("src/kpt/ir/README.md", "May include base.\n" * 41, "src/kpt/ir/README.md: got 41 lines, want at most 40"),
        ("docs/architecture.md", " 2  ir\n 0  base\n", "docs/architecture.md: got no ir on layer 1, want every room"),
    ],
)
def test_pages_that_say_something_else(pages, file, text, want):
    pages.write(file, text)
    assert len(page_faults(pages)) == 1 and page_faults(pages)[0].startswith(want)


def test_a_room_without_a_page(pages):
    (pages.root / "src/kpt/ir/README.md").unlink()
    assert page_faults(pages) == ["src/kpt/ir/README.md: got no page, want one for room ir"]
