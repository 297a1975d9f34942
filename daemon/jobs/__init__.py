"""From a claimed file to its outcome, and what becomes of the original.

kinds         what a job can be, one file a kind
job_queue     which job starts next, and what holds the others back
dispatch      the threads that run jobs
runner        one job from claim to outcome
conversation  what is said between one order and its end
running_job   the running job as everybody may see it
outcomes      how a job ends, written down
follow_ups    what has to be done next once a job has ended
originals     moves, deletes, quarantines a file; never loses one
tidying       originals of ended jobs, now or when it becomes possible
retry         pure: when a job is tried again
disk          the disk reserve
"""
