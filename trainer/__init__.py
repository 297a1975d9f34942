"""DeepFaceLab's SAEHD trained by PyTorch, on DeepFaceLab's own files. Knows no video, inbox or round.

errors         TrainerError: the root of this package's errors
architectures  the networks
losses         what a training makes smaller
optimizers     how weights change
networks       Networks: the networks of a model and what trains them, made from its options
assembly       training_step_of: a training step from networks and options
precision      float32, TF32 or bfloat16, and where each is refused
training_step  TrainingStep: one iteration
model_folder   the folder of a model: opened or refused by name, saved whole
options        SAEHD's options: what each may be, and key=value
importing      weights of one model taken into another
randomness     seeds that follow from where a training stands
samples        what the network is shown
"""
