# SPDX-License-Identifier: Apache-2.0
"""`python -m kernel_pytorch`: the command line."""

import sys

from .cli import main

sys.exit(main())
