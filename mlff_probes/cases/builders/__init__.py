"""Crystal -> the frames that a case needs, before anybody has computed their energies."""
