"""The promises of the contract, as tests."""
