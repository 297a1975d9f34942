"""Which pixels of an aligned face belong to the face.

source        what every source of masks promises, and the values it takes and gives
write_mask    a mask in the bytes of an aligned JPEG: whose it is, put in, taken out again
xseg          the network that DeepFaceLab trains to mask faces
hull          the mask that DeepFaceLab draws from the 68 landmarks
polygons      the masks that a person drew
parser        the source `parser`: networks that say of each pixel whether it is skin, hair …
kept_parsers  face parsers that the user added, known by their hash
checks        can a predicted mask be the face's? held against the hull (pure)
flicker       masks that jump from one frame to the next (pure)
choose        which mask a face gets, and why no other
"""
