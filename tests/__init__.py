"""Tests, in files that mirror those of cnnlab; `tests.helpers` holds what several of them use."""
