"""How the ledger came to be what it is, step by step; run by `server.migrate`."""
