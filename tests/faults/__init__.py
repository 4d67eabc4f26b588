"""Faults that pass: the inbox goes on by itself when the cause is gone (contract L9)."""
