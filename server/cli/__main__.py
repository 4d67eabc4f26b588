"""`python -m server.cli` is `kore-inbox`."""

from contextlib import suppress

from server.cli import main

with suppress(KeyboardInterrupt):
    main()
