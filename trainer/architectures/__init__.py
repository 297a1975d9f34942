"""The networks, small enough to read, and their names in DeepFaceLab's files.

spec             NetworkSpec: the options that make a network, checked
layers           convolutions, Up, Down, Residual, dense layers
patch_layers     how many layers the GAN's discriminator has, without PyTorch
saehd            Saehd: encoder, inter, decoder; df and liae; computes only the branches that are asked for
discriminators   PatchDiscriminator (GAN) and CodeDiscriminator (true face)
initial_weights  first values as DeepFaceLab draws them
names            FileTensor: a parameter and the tensor of a file; load_part
"""
