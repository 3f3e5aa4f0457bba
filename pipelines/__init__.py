"""The stages: pure functions from named inputs to named artefacts. They know nothing of how or where they are run."""
