"""Files that somebody damaged or forged, and what reading them ends in."""
