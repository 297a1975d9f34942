"""The files of a model on a machine, as one set.

snapshot  one consistent copy off a machine
push      new weights onto it, all or nothing
"""
