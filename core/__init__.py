"""What every package needs and none owns. Imports nothing of ours.

errors   the root of all errors
text     text from strangers, safe to show
"""
