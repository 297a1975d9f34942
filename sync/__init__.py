"""Weights between machines: whole rounds of averaging over SSH. Knows no face, inbox or schedule of the service.

rounds       one round from end to end; the seam that daemon/ and the CLI call
schedule     when a round is due
journal      what rounds have done, on disk and as values
averaging    the arithmetic on files of weights, and who is left out of it
model_files  the files of a model on a machine: one consistent copy off it, new weights onto it
trainers     stopping, starting and reloading the training program
transports   files and commands on a machine: in words, for a local folder, over SSH

machines     the machines of one model, reached: transport, places and trainer of each
places       pure: where dfld keeps things in a model folder, and which files of a model are in use
pausing      waits between two tries, and what a stop does to them
types        Machine, Snapshot, Round: the values that flow
failures     from an exception of any type to the failure of one machine or round
errors       what can go wrong
"""
