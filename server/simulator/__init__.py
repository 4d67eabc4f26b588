"""An ERP for demonstrations, tests and benchmarks: coherent exports of six APIs, made from a seed.

    from server.simulator import Plan, Server, push, simulate

    inbox = Server("127.0.0.1", 2121, "trial", password)
    push(simulate(Plan(files=300)), inbox, connections=8, shuffle_seed=1)

It plays the sender's side only. On its first day it exports each API once as an initial load; after that, all
day and every day, net changes of all APIs: new categories, customers, items, prices, stock and orders, and
changes to those that went before. As with a real ERP, what a row refers to was exported before it, in the
same file or under a lower number. So however the files are shuffled on their way, nothing may be parked at
the end.

Every row is computed from the seed, the API, its index and the file that changes it; rows are not kept. So a
plan of a million files needs no more memory than one of ten, and two runs of one plan agree to the byte.

    plan        what to simulate
    rows        one customer, item, order ... as the cells of its rows
    exports     which rows each file holds
    delivery    files to a folder or to an FTP server
"""

from server.simulator.delivery import PushFailed, Reply, Server, push, write
from server.simulator.exports import Export, simulate
from server.simulator.plan import APIS, Plan

__all__ = ["APIS", "Export", "Plan", "PushFailed", "Reply", "Server", "push", "simulate", "write"]
