#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/setup_system.sh GROUP...: makes sure that the system packages of the groups (build, lint, fuzz, bench, browser)
# are there. Installs missing ones through apt as root or with `sudo -n`; where it may not, names them and exits 1.
# Looks for the files themselves, not for packages, so tools installed by other means count.
set -euo pipefail

has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() { [[ -e /usr/include/$1 || -e /usr/local/include/$1 ]]; }
has_library() { compgen -G "/usr/lib/*/$1" >/dev/null || compgen -G "/usr/lib/$1" >/dev/null || compgen -G "/usr/local/lib/$1" >/dev/null; }
# clang's runtime carries its version in the folder: /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux on Debian 12, llvm-18 on Ubuntu 24.04.
has_clang_runtime() { compgen -G "/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a" >/dev/null; }
has_venv() { "${PYTHON:-python3}" -c 'import ensurepip, venv' >/dev/null 2>&1; }
has_python_headers() { "${PYTHON:-python3}" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null; }

missing=()
want() {  # want PACKAGE TEST...
  local package=$1
  shift
  "$@" || missing+=("$package")
}

for group in "$@"; do
  case $group in
    build)
      want g++ has_command g++
      want cmake has_command cmake
      want ninja-build has_command ninja
      want git has_command git
      want binutils has_command objdump
      want nlohmann-json3-dev has_header nlohmann/json.hpp
      want libcli11-dev has_header CLI/CLI.hpp
      want libsqlite3-dev has_header sqlite3.h
      want libgtest-dev has_library libgtest.a
      # The CMake files of libgtest-dev name gmock's library too, and fail without it.
      want libgmock-dev has_library libgmock.a
      want python3-venv has_venv
      ;;
    lint) want clang-tidy has_command clang-tidy ;;
    fuzz)
      want clang has_command clang++
      want libclang-rt-dev has_clang_runtime
      ;;
    bench)
      want libbenchmark-dev has_library 'libbenchmark.*'
      want python3-dev has_python_headers  # torch.compile, the rival, builds against Python.h
      ;;
    browser) want chromium has_command chromium ;;  # python/tests/test_profile.py opens a page in it
    *)
      echo "tools/setup_system.sh: got group '$group', want build, lint, fuzz, bench or browser" >&2
      exit 2
      ;;
  esac
done
((${#missing[@]})) || exit 0

as_root=()
if [[ $(id -u) != 0 ]]; then
  if has_command sudo && sudo -n true 2>/dev/null; then as_root=(sudo -n); else as_root=(false); fi
fi
if ! has_command apt-get || [[ ${as_root[0]:-} == false ]]; then
  echo "Missing system packages: ${missing[*]}" >&2
  echo "Install them and run make again. On Debian or Ubuntu: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "Installing: ${missing[*]}"
run_apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q "$@" </dev/null; }
run_apt update
# Releases that lack the unversioned clang runtime package carry it under the compiler's version.
for i in "${!missing[@]}"; do
  if [[ ${missing[i]} == libclang-rt-dev ]] && ! apt-cache show libclang-rt-dev >/dev/null 2>&1; then
    version=$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
    missing[i]=libclang-rt-$version-dev
  fi
done
run_apt install -y --no-install-recommends "${missing[@]}"
