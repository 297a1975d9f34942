"""From a file that arrives to a claimed one: the scan is the truth, file events are hints.

running     the inboxes of a running service
settling    pure: which files are complete
intake      one inbox from arrival to claim
watcher     file events: hints that make a scan come sooner
scan        what lies in an inbox now; the truth
roots       is the folder still the one that is watched?
mounts      which filesystem a path lies on
writers     who has a file open for writing
hashing     content hashes
claims      from settled to claimed
never_footage  pure: names that are never footage, as lists
first_bytes    what the first bytes of a file say it is
references     reference photos that lie in an inbox are never footage
plan        dfld scan --dry-run
sentences   pure: why a file is left alone or waits, with the remedy
"""
