"""FTP and FTPS over pyftpdlib: what a client sees of the inbox (contract section 3, RFC 959, RFC 4217).

    server ─► session ─► answering ─► uploading ─► conversation    one control connection, from the outside in
      │          │                        │
      │       folders                    data ─► upload            what it shows; one data connection
      └─► tls ─► secured                                           the same, encrypted
    workers                                             what would make the loop wait

Nothing here decides about a file: `acceptance` does, on the workers' threads.
"""
