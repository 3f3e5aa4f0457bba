"""Refining mesh codes by the picture itself: texture, light and codes that explain the pixels of a face.

``model.photometric.refine.refine`` is the entry point. Nothing is imported here, so that the settings in
``model.photometric.config`` can be read without loading numba.
"""
