"""What happened, as one value of its own type, and who is notified of it.

event           what every event has
service_events  the service: its life, ledger, configuration, clock, worker processes
inbox_events    an inbox: its folder, its watch, what arrives
job_events      a job, and its original
round_events    a model that is averaged: rounds, machines
notifier        hands each event to the log, the metrics and the hooks
hooks           the queue and thread of each hook
hook_calls      one ping or command, within its limit
"""
