"""Pictures of data, of training, and of what models see and get wrong."""
