"""Which similarity threshold fits one video.

tune               what an extraction would see, without writing it
threshold_curve    pure: what each threshold would keep, and which one fits
threshold_picture  that as a histogram
"""
