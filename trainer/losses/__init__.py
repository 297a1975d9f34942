"""What a training makes smaller. Vectors with one number a sample, never in less than float32.

saehd_losses  LossSettings, generator_losses and those of the discriminators: the sum of all terms
batch         Batch: the samples of a step; Targets: what answers are compared with
dssim         structural dissimilarity
blur          the blur of masks and targets
style         means and deviations of blurred pictures
adversarial   cross entropy of a discriminator's logits, total variation
windows       separable filters
extra         losses that DeepFaceLab does not have, by name
"""
