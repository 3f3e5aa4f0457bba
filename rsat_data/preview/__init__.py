"""Pictures of finished rows: a side-by-side video and a contact sheet, from the dataset alone."""
