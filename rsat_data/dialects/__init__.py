"""File formats of other trackers and data sets: each a small module with ``find``, ``read`` and ``write``.

:mod:`rsat_data.dialects.register` names them, :mod:`rsat_data.dialects.track` is what they all read to and write from.
Importing this package imports none of them.
"""
