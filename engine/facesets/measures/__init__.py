"""What is measured of one aligned face: its bytes in, numbers out. Pure; decides nothing.

face_luma      an aligned JPEG → its luma at the size at which all is measured, with landmarks and hull
sharpness      detail over coarse structure: raised by no noise, lowered by no darkness; and too dark to judge
pose           how the head is turned
expression     how far mouth and eyes are open
light          where the light comes from, how much there is, and what the picture shows, coarsely
frame_edges    how much of a crop lies outside the frame
face_measures  all of it as one row
"""
