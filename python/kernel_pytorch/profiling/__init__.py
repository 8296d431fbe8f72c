# SPDX-License-Identifier: Apache-2.0
"""`kernelpytorch profile`: where the time of a model goes, node by node, and what bounds it.

collect.py   runs the plan with a clock around every step (src/kpt/engine/profile.h); typed nodes
roofline.py  what this machine reaches now: products, and copies by size
text.py      summary, detailed, memory for a terminal
trace.py     Chrome / Perfetto trace
page.py      one self-contained HTML page
"""
