"""Weights between machines: whole rounds of averaging over SSH. Knows no face, inbox or schedule.

rounds      one round from end to end, journaled, and when it is due; the seam that daemon/ and the CLI call
averaging   the arithmetic on files of weights, and who is left out of it
trainers    stopping, starting and reloading the training program
transports  files and commands on a machine: in words, for a local folder, over SSH

machines    the machines of one model, reached: transport, places and trainer of each
places      pure: where dfld keeps things in a model folder, and which files of a model are in use
types       Machine, Snapshot, Round: the values that flow
errors      what can go wrong
"""
