"""Mail about incidents: from the ledger into a queue, from the queue to people (contract E2).

    plan        who is told of what now, at once or in a digest (pure)
    letter      a letter's words and headers (pure)
    markup      its HTML part (pure)
    enclosures  the refused rows that go with it
    queue       the tables: what was told, and what has yet to be sent
    courier     one connection to the mail server
    mailer      the process that does all this

A letter is queued in the transaction that notes what people have been told, so each is queued once. It is
sent outside of any transaction, and marked as sent after the server's 250. A crash between the two sends it
again, with the same Message-ID: the order of the two decides between at least once and at most once, and a
letter that comes twice does less harm than one that never comes.
"""
