"""One SQLite file that remembers everything; one writer.

ledger   one SQLite file that remembers everything; one writer
schema   its tables and migrations
claims   arrivals in it
jobs     jobs in it
faces    the faces that a job found
extraction   what an extraction stores piece by piece, and resumes from
totals   counters that outlive restarts
pauses   what an operator paused
transitions  pure: the states of a job, and what leads from one to another
members  the files that a job was made of
moved_originals  where originals lie by now, read beside a running service or without one
sides    data_src or data_dst of a workspace: the clips whose faces lie there
"""
