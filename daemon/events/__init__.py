"""What happened, as one value, and who is notified of it.

event       what happened, as one value
notifier    hands each event to the log, the metrics and the hooks
hooks       tells others: the queue and thread of each hook
hook_calls  one ping or command, within its limit
"""
