"""The labelling loop. Rooms are added as the loop grows; nothing here knows of videos or meshes."""
