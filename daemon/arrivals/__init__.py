"""What lies in an inbox, and whether it is complete. Knows no job and no thread; the service's part is daemon.inboxes.

scan          what lies in an inbox now; the truth
settling      pure: which files are complete
never_footage pure: names that are never footage, as lists
first_bytes   what the first bytes of a file say it is
hashing       content hashes
roots         is the folder still the one that is watched?
mounts        which filesystem a path lies on
writers       who has a file open for writing
"""
