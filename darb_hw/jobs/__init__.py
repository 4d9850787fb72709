"""Pure jobs, files in and files out, and who does them: threads of this process or the workers of a cluster."""
