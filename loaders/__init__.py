"""From bytes to rows to tables: what a load promises.

A load puts one accepted file into the store's tables, within its caller's transaction:

* **Every row is accounted for.** It is loaded, refused with a reason, or parked until its parent comes
  (contract L4, L5). A text arrives exactly as it was sent, or its row is refused (L3).
* **Order does not matter.** The tables are a function of the set of files, not of the order in which they
  came or of how often each was loaded: the mark of a row (rank of stream, version, line) decides (L7).
* **All or nothing.** A load never commits; what it did is kept or undone with its caller's record of it (L1).
* **References are real.** The database holds a foreign key for every parent that a row must have (L5).

`catalog` reads what the APIs are (`apis/*.toml`, values in `shapes`), `tables` makes their tables, `checking`
gives the verdict on a file without touching any of them, `load` is the way in. Nothing here knows of FTP,
file names or sequences; the caller says a file's stream and version.
"""
