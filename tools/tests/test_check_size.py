# SPDX-License-Identifier: Apache-2.0
import check_size


def test_large_file_fails_generated_one_does_not(tree, capsys):
    tree.write("src/a.cpp", "x\n" * 800)
    tree.write("requirements.lock", "x\n" * 5000)
    assert check_size.main(["--root", str(tree.root)]) == 0
    assert "warning: src/a.cpp has 800 lines" in capsys.readouterr().out
    tree.write("src/a.cpp", "x\n" * 801)
    assert check_size.main(["--root", str(tree.root)]) == 1
    assert "src/a.cpp: got 801 lines, want at most 800" in capsys.readouterr().err


def test_prints_the_ten_largest_in_order(tree, capsys):
    for i in range(12):
        tree.write(f"src/f{i:02}.h", "x\n" * (i + 1))
    check_size.main(["--root", str(tree.root)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [[str(n), f"src/f{n - 1:02}.h"] for n in range(12, 2, -1)]
