"""From landmarks to mesh codes: batched Levenberg-Marquardt with derivatives written out.

``model.fitting.fit.fit_landmarks`` is the entry point. Nothing is imported here, so that the settings in
``model.fitting.config`` can be read without loading numba.
"""
