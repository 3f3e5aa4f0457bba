"""Motion of two people who talk: conversations as arrays, features of speech, and the network that predicts codes.

After the abstract of RSATalker: speech drives the mesh, and a social module conditions it through learnable queries
over embeddings of the relationship. What the stages contain is our reading.
"""
