"""What a faceset shows, and what it lacks for the faces that a model is to be used on.

grid         pose cells with their counts here and there, and which are missing. Pure
words        a pose cell in words and in degrees. Pure
tallies      expression, light and enlargement of a set as numbers. Pure
report       grid and tallies of one set, or of one against the other. Pure
document     the report as JSON
page         the report as one HTML page without scripts
picture      the report as a picture
thumbnails   the sharpest face of each cell, small
"""
