"""Image files: the bytes of one picture -> pixels, and the names of many -> a sequence.

decoding       one image file -> pixels, whatever its format
face_pixels    the JPEG of an aligned face -> pixels
image_header   the size and format that an image file states
whole_picture  was all of an image file read as its one picture
sequence       pure: names of images in a folder -> frames in order, gaps, duplicates
"""
