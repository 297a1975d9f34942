"""From a file that arrives to a claimed one: the threads of each inbox. What they examine it with is daemon.arrivals.

inbox_threads  the inboxes of a running service
intake         one inbox from arrival to claim
watcher        file events: hints that make a scan come sooner
claims         from settled to claimed
references     reference photos that lie in an inbox are never footage
plan           dfld scan --dry-run
sentences      pure: why a file is left alone or waits, with the remedy
"""
