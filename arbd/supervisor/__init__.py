"""The supervisor: hub link, dispatch, deadlines, the life of the workers. It never runs what an author wrote."""
