"""Tests of mail about incidents (contract E2)."""
