"""Gaussian avatars of subjects: fitting, files, drawing."""
