"""The rooms of the house that know Slicer: nodes and images, panels, jobs, installing."""
