"""Rules that say what measured figures ask for."""
