# SPDX-License-Identifier: Apache-2.0
"""`python -m kernel_pytorch.benchmark`: the command kpt-benchmark."""

import sys

from .cli import main

sys.exit(main())
