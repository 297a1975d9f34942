"""What the network is shown: samples made of aligned faces as DeepFaceLab makes them, by numpy and OpenCV alone.

settings         SampleSettings, Sample: what a sample is made like, and what it consists of
geometry         turn, scale, shift, mirror and warp, drawn from the seed
masks            the masks of a face at the size of its picture
hsv              a shift of hue, saturation and value
colour_transfer  the colours of a face of the other side
background       another picture behind the face
exact            a sample step by step in float32, as DeepFaceLab makes it: the truth for `fast`
fast             a sample in bytes, each output resampled once
faces            the faces of a side: listed, ordered, read
sample_maker     SampleMaker: samples from faces on a disk; broken ones are left out
batch_plan       BatchPlan: which samples the batch of an iteration consists of
loading          SampleLoader: batches from processes of their own
sheet            a picture of some samples, for people
"""
