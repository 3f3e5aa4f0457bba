"""The stage that fits an avatar to one subject of a published dataset."""
