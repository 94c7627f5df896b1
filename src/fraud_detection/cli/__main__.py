"""`python -m fraud_detection.cli` is `fraud`."""

import sys

from fraud_detection.cli.main import main

sys.exit(main())
