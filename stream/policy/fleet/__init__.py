"""One rate over many workers: what a worker reports, and the common threshold.

A worker's `ledger` counts what it owes and how busy it is; the coordinator's `mixer` folds the
summaries of all workers into one state of the fleet; a worker's `view` computes its own part from
that state.
"""
