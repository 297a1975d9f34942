"""Who does a job: child processes of this machine, behind a contract that a cluster can keep as well.

contract   what the service expects of a crew and of each worker
local      child processes
messages   what both say to each other
gpu        which GPU a worker gets
"""
