"""What happened, as one value, and who hears of it.

event       what happened, as one value
hearing     who hears of it: log, metrics, hooks
hooks       tells others: the queue and thread of each hook
hook_calls  one ping or command, within its limit
"""
