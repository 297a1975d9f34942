"""What every package needs and none owns. Imports nothing of ours.

errors   the root of all errors
opening  files from outside: regular, within their folders, of a limited size, opened without waiting
text     text from strangers, safe to show
"""
