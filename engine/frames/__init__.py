"""Frames: what every source of them promises, how pixels are made, and readers that change another reader's frames.

contract    what every source of frames promises, and what reading it has shown
pixels      decoded frames -> arrays, the right way up
tone        HDR -> SDR
shape       pixels that are not square -> the size with square ones
one_size    frames of one size, as the merger needs them
stretch     only the frames from one time to another
prefetch    decoding in a thread, a little ahead
shots       where the shot changes
"""
