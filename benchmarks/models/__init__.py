"""Models people bring: what is accepted is simulated, what is refused is mended as its remedy says."""
