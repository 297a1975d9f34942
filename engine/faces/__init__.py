"""What can be measured of a face, whoever it is. Pure.

boxes            where a face's box has its middle, how large it is, how much two overlap
warps            upright crops: similarity warps fitted to a few points
pose             how a head is turned, from the points on its face
quality          how good a face is, to say who it is and to train on
near_duplicates  which faces of a clip show the same
"""
