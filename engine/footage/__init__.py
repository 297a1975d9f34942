"""Frames out of hostile files: videos and folders of images.

contract    what every source of frames promises
video       a video file as frames: probe, read in order, go on at a cursor
signatures  pure: what the first bytes of a file say it is
formats     which formats are footage, and what other files are called
container   opening an untrusted video file
prefetch    decoding in a thread, a little ahead
decoder     one pass over it: packets in, pictures out
hardware    decoding on the GPU, where it gives the same pictures
seek        where to start decoding so that the rest comes out the same
pixels      decoded frames -> arrays, the right way up
tone        HDR -> SDR
shape       pixels that are not square -> the size with square ones
one_size    frames of one size, as the merger needs them
stretch     only the frames from one time to another
images      a folder of images as frames
sequence    pure: names of images in a folder -> frames in order, gaps, duplicates
pictures    one image file -> pixels, whatever its format
structure   does a container end where it says that it ends
verdict     was a source read whole, and how much is missing if not
whole_picture  was all of an image file read as its one picture
image_size  the size that an image file's header states
"""
