"""The inbox: accept, order, administer. Loading itself is `loaders`' work.

The story of one file, `DT_0000017_KS_ORDERS.NET`:

1. The ERP logs in (`users`) and sends STOR. `ftp` asks `acceptance` for an `upload`: a private file in the
   `spool`, digested as the bytes come. At the end of the data a worker (`ftp.workers`) makes it durable. If
   something shows that it was cut (`proofs`), it is kept, and the ERP can go on with it (`uploads`). An ERP
   that leaves files in a `drop_folder` comes in here.
2. `acceptance` reads the name (`names`), looks at what the ledger knows (`outlook`) and at what has come
   since (`pending`), and decides (`sequence.judge`). The receipt's rename into `new/` is the instant of
   acceptance; only then the sender hears 226, with a sentence (`answers`) that says what will happen. A nudge
   wakes the loader.
3. In the other process `dispatcher` registers the receipt: `intake` judges name and number again, this time
   for good, and the `ledger` has the file as ready, or as held while a lower number is missing.
4. What is ready is cut into a wave (`waves`): by level of precedence, stream and version. A FULL may have to
   wait for its `hours`. Each file is loaded
   in a transaction that also says so in the ledger. What cannot be loaded is quarantined with the reason.
5. After every change `acknowledging` writes the sender's answer (`acks`), which he finds in `/acks`.
6. `incidents` opens and closes what an operator has to know; by `cli`, or the programs in `scripts/`, he asks
   `overview` (all at a glance), `views` (lists), `explanation` (why?) and `check` (what would a load say?),
   and decides by `admin`.

`supervisor` runs receiver and loader as `children` (`process` is what they share) and starts a dead one
again. `states` is the table of all moves that a file can make; only `ledger` makes them.
"""
