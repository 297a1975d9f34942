"""Frames out of hostile files: videos and folders of images.

video         a video file as frames: probe, read in order, go on at a cursor
image_folder  a folder of images as frames
signatures    pure: what the first bytes of a file say it is
formats       which formats are footage, and what other files are called
container     opening an untrusted video file
decoder       one pass over it: packets in, pictures out
hardware      decoding on the GPU, where it gives the same pictures
source_hash   the SHA-256 by which ids of faces name their source
seek          where to start decoding so that the rest comes out the same
structure     does a container end where it says that it ends
verdict       pure: was a source read whole, and how much is missing if not
"""
