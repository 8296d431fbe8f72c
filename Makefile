# SPDX-License-Identifier: Apache-2.0
# `make run` and `make test` are all a newcomer needs; both install what is missing first. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUILD ?= build
FUZZ_SECONDS ?= 300
BASE ?=
SUITE ?= quick
OUT ?= results
JOBS ?= $(shell nproc)
PY := .venv/bin/python
# -O1: half the compile time of -O2 under sanitizers, whose checks are the same. -g1: lines for the stacks, no variables.
SANITIZED := -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1"
# Left out under sanitizers: NVRTC, a library without their instrumentation, compiles some thousand programs in it. Nothing
# of ours would be seen, in many minutes; `make test` runs it.
UNSANITIZED := -Conformance.EveryCudaProgramCompiles
# An allocation that cannot be is the caller's Error, as it is without sanitizers, and not their abort.
NO_ABORT := allocator_may_return_null=1
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help setup configure build run test lint format asan tsan fuzz headers bundle wheel docs bench bench-cpu bench-gpu test-gpu clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

setup:  ## system packages (apt), .venv with pinned packages
	@PYTHON=$${PYTHON:-$$(tools/find_python.sh)} tools/setup_system.sh build
	@tools/setup_python.sh requirements-dev.txt

configure: setup
	@[[ -f $(BUILD)/build.ninja ]] || cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release -DKPT_TORCH=ON -DKPT_PYTHON=$(CURDIR)/$(PY)

build: configure  ## libkpt.so, libkpt_torch.so, the kpt command and all tests
	@cmake --build $(BUILD) -j $(JOBS)

run: build  ## optimise MiniLM on examples/sentences.txt and show what was done
	@$(PY) -m kernel_pytorch.demo

test: build  ## everything that needs no accelerator
	@$(PY) tools/check_layers.py
	@$(PY) tools/check_size.py
	@ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	@$(PY) -m pytest -q tools/tests
	@$(PY) -m pytest -q python/tests
	@$(PY) tools/check_docs.py --build $(BUILD)

lint: build  ## clang-format, ruff, clang-tidy (BASE=main: only files that differ from that commit)
	@tools/setup_system.sh lint
	@tools/setup_python.sh requirements-lint.txt
	@tools/lint.sh "$(BUILD)" "$(JOBS)" "$(BASE)"

format: setup  ## lays out all C++ and Python files
	@tools/setup_python.sh requirements-lint.txt
	@git ls-files '*.h' '*.cpp' | xargs .venv/bin/clang-format -i
	@.venv/bin/ruff format -q python tools benchmarks
	@.venv/bin/ruff check -q --fix python tools benchmarks

asan: setup  ## C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake -S . -B build-asan -G Ninja $(SANITIZED) -DKPT_SANITIZE=address,undefined
	@cmake --build build-asan -j $(JOBS)
	@ASAN_OPTIONS=$(NO_ABORT) GTEST_FILTER=$(UNSANITIZED) ctest --test-dir build-asan --output-on-failure -j $(JOBS)

tsan: setup  ## C++ tests under ThreadSanitizer
	@cmake -S . -B build-tsan -G Ninja $(SANITIZED) -DKPT_SANITIZE=thread
	@cmake --build build-tsan -j $(JOBS)
	@GTEST_FILTER=$(UNSANITIZED) TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tools/tsan.txt:$(NO_ABORT) ctest --test-dir build-tsan --output-on-failure -j $(JOBS)

fuzz: setup  ## every libFuzzer target for FUZZ_SECONDS (300)
	@tools/setup_system.sh fuzz
	@CXX=clang++ cmake -S . -B build-fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DKPT_FUZZ=ON -DKPT_TESTS=OFF
	@cmake --build build-fuzz -j $(JOBS) --target kpt_fuzzers
	@tools/run_fuzzers.sh build-fuzz $(FUZZ_SECONDS)

headers: configure  ## every header of the core compiles alone
	@git ls-files 'src/kpt/*.h' | xargs -P $(JOBS) -I{} g++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -Wno-psabi -Isrc '-DKPT_SOURCE_DIR="$(CURDIR)"' \
	  $$(sed -n 's/^KPT_CU[A-Z_]*INCLUDE:PATH=/-isystem /p' $(BUILD)/CMakeCache.txt) -include {} -x c++ /dev/null
	@echo "headers: $$(git ls-files 'src/kpt/*.h' | wc -l) compile alone"

bundle: build  ## dist/kernel_pytorch-VERSION/, a relocatable folder
	@tools/bundle.sh $(BUILD) $(PY)

wheel: setup  ## dist/kernel_pytorch-VERSION-py3-none-linux_x86_64.whl for the torch that is installed
	@tools/setup_python.sh requirements-wheel.txt
	@tools/wheel.sh $(PY)

docs: build  ## pages that are generated from tables
	@$(BUILD)/bin/kpt env --markdown > docs/settings.md

bench: setup  ## C++ microbenchmarks (build-bench/**/kpt_<room>_bench)
	@PYTHON=$(PY) tools/setup_system.sh bench
	@cmake -S . -B build-bench -G Ninja -DCMAKE_BUILD_TYPE=Release -DKPT_BENCH=ON -DKPT_TESTS=OFF
	@cmake --build build-bench -j $(JOBS)

bench-cpu: build  ## the suite SUITE (quick) beside its rivals on this CPU, results under OUT
	@tools/setup_python.sh requirements-bench.txt
	@$(PY) -m kernel_pytorch benchmark --suite $(SUITE) --device cpu --output $(OUT)

bench-gpu: SUITE = gpu
bench-gpu: build  ## the suite SUITE (gpu) on the GPU beside eager and torch.compile, results under OUT
	@tools/setup_python.sh requirements-bench.txt
	@$(PY) -m kernel_pytorch benchmark --suite $(SUITE) --device cuda --output $(OUT)

test-gpu: build  ## kernels, sanitizers, models and faults on the GPU; "not checked" where there is none
	@$(PY) benchmarks/test_gpu.py --build $(BUILD)

clean:  ## build folders and dist (not .venv)
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-bench dist
