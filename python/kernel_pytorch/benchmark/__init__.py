# SPDX-License-Identifier: Apache-2.0
"""The benchmark runner: models x shapes x dtypes x systems in one process, measured in rounds A B C .. C B A.

suites.py   what is measured: rows by name, in suites
systems.py  what is compared: one folder each under benchmarks/rivals
runner.py   how: build, error against f64, warm-up until steady, rounds
summary.py  what came of it: ratios to the best rival, the last line of a suite
page.py     one HTML page with plots; tools/make_results.py makes the pages under docs/results
"""
