"""Files of all shapes work, or are refused with a sentence that says what to change."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from fraud_detection.adapters.tables import open_table, write_columns
from fraud_detection.errors import ConfigError
from fraud_detection.init import propose

from .conftest import ROWS, Guess, Write, days, payments
