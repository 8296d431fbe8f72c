# SPDX-License-Identifier: Apache-2.0
"""Every kind of wrong name in a page is found; right ones are not."""

import pytest

import check_docs


@pytest.fixture
def docs(tree):
    tree.write("Makefile", "run: build\n\t@true\n")
    tree.write("src/kpt/base/sym.h", "class SymRange; int exact_div(); // KPT_LOG\n")
    tree.write("python/kernel_pytorch/api.py", "def auto_optimize(model): ...\n")
    return tree


def faults(tree, text, run=False):
    tree.write("README.md", text)
    pages = check_docs.Tree(tree.root)
    commands = check_docs.Commands(tree.root, tree.root / "build")
    runner = check_docs.Runner(pages, commands.build) if run else None
    return check_docs.check_page(pages, commands, "README.md", runner)


GOOD = """
`make run`, `src/kpt/base/sym.h`, `kpt/base/sym.h`, `base/`, `sym.h`, `src/kpt/*/*.h`, [sym](src/kpt/base/sym.h#top),
`exact_div()`, `SymRange`, `SymRange::exact_div`, `kernel_pytorch.api.auto_optimize(model)`, `KPT_LOG`, `build/lib`,
`src/kpt/<room>/x.h`, `kernels/NAME/NAME.cpp`, `auto_optimize(...)`, `float`, `~/.cache/x`, `s + 1`, `kpt_base_test`
"""


def test_right_names_pass(docs):
    assert faults(docs, GOOD) == []


@pytest.mark.parametrize(
    "span",
    [
        "make rum",
        "src/kpt/base/sin.h",
        "sin.h",
        "src/kpt/*/*.cpp",
        "exact_divide()",
        "SymRanges",
        "SymRange::divide",
        "auto_optimise",
    ],
)
def test_wrong_span_is_found_with_its_line(docs, span):
    found = faults(docs, f"# Title\n\ntext `{span}`\n")
    assert len(found) == 1 and found[0].startswith("README.md:3: got"), found


def test_wrong_link_and_variable(docs):
    assert "got link to docs/no.md" in faults(docs, "[x](docs/no.md)")[0]
    assert faults(docs, "set KPT_LOGS=debug\n") == ["README.md:1: got KPT_LOGS, want a setting, CMake option or macro"]


def test_flags_are_read_from_the_help(docs):
    docs.write("build/bin/kpt", "#!/bin/sh\necho 'usage: graph --passes'\n")
    (docs.root / "build/bin/kpt").chmod(0o755)
    assert faults(docs, "`kpt graph x --passes`\n") == []
    assert "got flag --pass," in faults(docs, "`kpt graph x --pass`\n")[0]
    assert "got flag --fusee" in faults(docs, "```bash norun: x\n\nkpt graph x --fusee\n```\n")[0]
    assert "got flag --fusee" in faults(docs, "```\nkpt graph x --fusee    remark\n```\n")[0]
    assert faults(docs, "```\nkpt graph x --fuse    --remark\na drawing --fuse\n```\n") != []
    assert faults(docs, "```\nkpt graph x --passes    a remark --fuse\na drawing --fuse\n```\n") == []


def test_a_missing_program_is_a_fault(docs):
    assert "want the built command, try make build" in faults(docs, "`kpt graph x --passes`\n")[0]


def test_marked_snippets_run_and_others_do_not(docs):
    shown = "```python norun: it ends\nraise SystemExit(3)\n```\n"
    assert faults(docs, "```python run\nassert 1 + 1 == 2\n```\n" + shown, run=True) == []
    assert "ended with 3" in faults(docs, "```python run\nraise SystemExit(3)\n```\n", run=True)[0]
    assert "ended with 1" in faults(docs, "```bash run\nfalse\ntrue\n```\n", run=True)[0]


def test_blocks_of_a_page_are_one_program_with_the_lines_of_the_page(docs):
    text = "# Title\n\n```python run\na = 1\n```\nthen\n\n```python run\nassert a == 1\nassert a == 2\n```\n"
    found = faults(docs, text, run=True)
    assert len(found) == 1 and found[0].startswith("README.md:10: the snippet ended with 1"), found
    assert faults(docs, text.replace("a == 2", "a < 2"), run=True) == []


def test_snippets_see_the_tree_and_write_beside_it(docs):
    assert faults(docs, "```bash run\ntest -f src/kpt/base/sym.h\necho 1 > report.json\n```\n", run=True) == []
    assert not (docs.root / "report.json").exists()


@pytest.mark.parametrize("mark", ["", " runs", " norun", " norun:"])
def test_a_block_runs_or_says_why_not(docs, mark):
    assert "want `run` or `norun: why`" in faults(docs, f"text\n```python{mark}\n1\n```\n")[0]
    assert faults(docs, "```cpp\nint x;\n```\n") == []
