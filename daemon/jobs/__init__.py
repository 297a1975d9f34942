"""From a claimed file to its outcome, and what becomes of the original.

dispatch   which job runs next
ingest     one job from claim to outcome
running    the job in hand as everybody may see it
orders     what a worker is told about one job
outcomes   how a job ends, written down
originals  moves, deletes, quarantines a file; never loses one
tidying    originals of ended jobs, now or when it becomes possible
retry      pure: when a job is tried again
disk       the disk reserve
"""
