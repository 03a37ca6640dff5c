"""The files of a training: run, checkpoints, log, classifiers. Uses methods and everything below."""
