"""The child process that owns models and decoders, and the service's end of it.

process    the child process that owns models and decoders
extractor  its extractor
failures   pure: what a failure in it means for its job
gpu        which GPU a worker gets
link       the service's end of it
trial      does a large file open? Asked before it is hashed
workspaces what the service asks about pictures in a workspace
messages   what both say to each other
"""
