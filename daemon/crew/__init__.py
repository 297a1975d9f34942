"""Who does a job: child processes of this machine, behind a contract that a cluster can keep as well.

contract    what the service expects of a crew and of each worker
local       child processes
kept_links  the workers of one slot, kept between jobs
messages    what both say to each other
unread      what a worker has said and nobody has taken yet, in bounded memory
gpu         which GPU a worker gets
"""
