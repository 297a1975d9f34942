"""One SQLite file that remembers everything; one writer.

ledger   one SQLite file that remembers everything; one writer
schema   its tables and migrations
claims   arrivals in it
jobs     jobs in it
members  the files that a job was made of
"""
