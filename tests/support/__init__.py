"""Helpers of the tests: a private MariaDB server, and a look at what a test leaves running."""
