"""The results of a run, and its readers: terminal, JSON, Markdown, figures. None knows of another."""
