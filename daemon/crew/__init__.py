"""Who does a job: child processes of this machine.

link       the service's end of one worker
messages   what both say to each other
gpu        which GPU a worker gets
"""
