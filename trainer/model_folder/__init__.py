"""The folder of a model: opened or refused by name, saved whole, kept from other trainers. Without PyTorch.

model             Model: everything that a folder holds; read_model, save_model
examination       everything that is wrong with a model
expected_tensors  which tensors each file holds, from the options
tensor_files      one weight or optimizer file, read checked and written whole
data_file         data.dat: iteration, options, losses and preview samples
summary           summary.txt
generations       a save as one generation: all files or none
backups           DeepFaceLab's autobackups
lock              one trainer at a time, DeepFaceLab included
"""
