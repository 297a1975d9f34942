"""One clip, window by window: judged, filled in and written, and what one window hands to the next.

decide   who is who in a window, with doubtful tracks asked again
fill_in  wanted faces in the frames between the looks: written and recorded
carry    what one window hands to the next, as JSON: where a killed run goes on
closing  what only the whole clip can tell: review tracks explained later, near-duplicates
"""
