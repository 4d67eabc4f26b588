"""An ERP for demonstrations, tests and benchmarks: coherent exports of all APIs, made from a seed.

    from server.simulator import Plan, Server, push, simulate

    inbox = Server("127.0.0.1", 2121, "trial", password)
    push(simulate(Plan(files=300)), inbox, connections=8, shuffle_seed=1)

It plays the sender's side only. On its first day it sends everything of each API once, as a large NET that a
fresh inbox takes without asking anybody; after that, all day and every day, net changes of all APIs: new
customers, items, prices, stock and orders, and changes to those that went before; by night, if wanted, FULLs
of the master data. As with a real ERP, what a row must refer to was exported before it, in the same file or
under a lower number. So however the files are shuffled on their way, nothing may be parked at the end.

Every row is computed from the seed, the API, its index and how often it has changed; rows are not kept. So a
plan of a million files needs no more memory than one of ten, and two runs of one plan agree to the byte.

What APIs and fields there are is the catalog's to say; one that it gains is simulated too.

    plan        what to simulate
    profiles    what is particular to the single APIs
    kinds       how many records there are, how they are called, to which others they refer
    keys        values that tell records apart
    forms       how many lines and rows a record has
    rounds      which records change, and how often they have
    records     the rows of a record, after so many changes
    values      how a field is filled, by its name (`vocabulary`, with the `words`) or its type
    dice        numbers that only look random
    exports     which records each file holds
    faults      what can be wrong with a row
    mishaps     gaps, duplicates, conflicts, late files, bad rows
    delivery    files to a folder or to an FTP server
    run         a whole run, and what came of it
"""

from server.simulator.delivery import PushFailed, Reply, Server, push, push_each, write
from server.simulator.exports import Export, simulate
from server.simulator.mishaps import Account, Disturbed, Mishaps
from server.simulator.plan import Plan
from server.simulator.run import Run, into_folder, over_ftp

__all__ = [
    "Account",
    "Disturbed",
    "Export",
    "Mishaps",
    "Plan",
    "PushFailed",
    "Reply",
    "Run",
    "Server",
    "into_folder",
    "over_ftp",
    "push",
    "push_each",
    "simulate",
    "write",
]
